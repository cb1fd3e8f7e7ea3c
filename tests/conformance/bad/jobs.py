"""Bad histories of jobs that are lost, doubled, ended twice or purged too early."""

from __future__ import annotations

from tests.conformance.bad.registry import MINUTE, breaks, run_once
from tests.conformance.story import (
    REFUSED,
    UNKNOWN,
    Story,
    conflict,
    final,
    held,
    known,
    running,
    waiting,
)
from treadle.conformance.history.events import How, Sent, Told
from treadle.domain.state import Event, State


@breaks("H01")
def an_accepted_job_is_nowhere(story: Story) -> None:
    story.stored("a", "b")
    story.scanned(waiting("a"))


@breaks("H01")
def a_running_job_is_gone_after_its_worker_died(story: Story) -> None:
    story.opened()
    story.stored("a")
    story.claimed(running("a"))
    story.purged()
    story.scanned()


@breaks("H01")
def a_job_is_gone_that_was_only_answered_as_known(story: Story) -> None:
    story.stored("a", told=UNKNOWN)
    story.stored("a", told=known(waiting("a")))
    story.scanned()


@breaks("H01")
def a_follow_up_of_an_accepted_write_is_nowhere(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SUCCEED, follow_ups=(Sent(id="b"),))
    story.scanned(final("a"))


@breaks("H01", drained=True)
def a_job_still_waits_after_everything_ended(story: Story) -> None:
    story.stored("a")
    story.scanned(waiting("a"))


@breaks("H02")
def a_job_is_claimed_that_nobody_enqueued(story: Story) -> None:
    story.claimed(running("ghost"))


@breaks("H02")
def a_refused_job_is_there(story: Story) -> None:
    story.stored("a", told=REFUSED)
    story.scanned(waiting("a"))


@breaks("H02")
def a_job_is_there_whose_enqueue_stored_nothing(story: Story) -> None:
    story.stored("a", told=UNKNOWN).how = How.FAIL
    story.claimed(running("a"))


@breaks("H02")
def a_job_is_there_although_its_key_was_held(story: Story) -> None:
    story.stored("a", unique="k")
    story.stored("b", unique="k", told=held(waiting("a")))
    story.got(waiting("b"))


@breaks("H02")
def a_follow_up_is_there_whose_parent_conflicted(story: Story) -> None:
    run_once(story)
    refused = conflict(final("a"))
    story.wrote("a", 2, Event.SUCCEED, told=refused, follow_ups=(Sent(id="b"),))
    story.scanned(final("a"), waiting("b"))


@breaks("H02")
def a_job_is_seen_before_it_is_enqueued(story: Story) -> None:
    story.got(waiting("a"))
    story.stored("a", told=Told(fence=2))


@breaks("H03")
def a_final_job_is_claimed_again(story: Story) -> None:
    run_once(story)
    story.claimed(running("a", 4, attempt=2))


@breaks("H03")
def a_job_ends_twice(story: Story) -> None:
    run_once(story)
    story.wrote("a", 3, Event.CANCEL)


@breaks("H03")
def a_final_job_waits_again_without_a_retry(story: Story) -> None:
    run_once(story)
    story.wrote("a", 3, Event.RESCHEDULE)


@breaks("H03")
def a_retried_job_ends_twice_in_its_second_run(story: Story) -> None:
    run_once(story)
    story.wrote("a", 3, Event.RETRY, fresh=True, attempt=0)
    story.claimed(running("a", 5))
    story.wrote("a", 5, Event.SUCCEED)
    story.wrote("a", 6, Event.SUCCEED)


@breaks("H07")
def an_uncertain_enqueue_was_there_and_vanished(story: Story) -> None:
    story.stored("a", told=UNKNOWN)
    story.got(waiting("a"))
    story.scanned()


@breaks("H07")
def an_uncertain_write_shows_beside_the_one_that_took_its_place(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SUCCEED, told=UNKNOWN, follow_ups=(Sent(id="b"),))
    story.wrote("a", 2, Event.FAIL)
    story.scanned(waiting("a", 3, attempt=1), waiting("b"))


@breaks("H07")
def half_of_an_uncertain_write_happened(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SUCCEED, told=UNKNOWN, follow_ups=(Sent(id="b"),))
    story.scanned(final("a"))


@breaks("H10", "H11")
def a_tick_is_accepted_twice(story: Story) -> None:
    story.stored("cron:report:1000", client="c1")
    story.stored("cron:report:1000", client="c2", told=Told(fence=2))


@breaks("H10")
def a_tick_is_accepted_in_two_queues(story: Story) -> None:
    story.stored("cron:report:1000")
    story.stored("cron:report:1000", queue="other")


@breaks("H10", ticks=["cron:report:1000", "cron:report:2000"])
def a_tick_is_missing(story: Story) -> None:
    story.stored("cron:report:1000")


@breaks("H11")
def an_id_is_stored_twice(story: Story) -> None:
    story.stored("a", client="c1")
    story.stored("a", client="c2", told=Told(fence=2))


@breaks("H11")
def a_remembered_id_is_stored_again(story: Story) -> None:
    run_once(story, retention_ms=0, remember_ms=MINUTE)
    story.later(MINUTE - 1)
    story.purged()
    story.stored("a", told=Told(fence=4))


@breaks("H11")
def a_duplicate_shows_another_body(story: Story) -> None:
    story.stored("a", body=1)
    story.stored("a", body=2, told=known(waiting("a", body=2)))


@breaks("H11")
def a_claim_gives_another_body(story: Story) -> None:
    story.stored("a", body=1)
    story.claimed(running("a", body=2))


@breaks("H11")
def the_holder_of_a_key_never_had_it(story: Story) -> None:
    story.stored("a", unique="one")
    story.stored("b", unique="other", told=held(waiting("a")))


@breaks("H23")
def a_record_is_purged_before_its_retention_is_over(story: Story) -> None:
    run_once(story, retention_ms=MINUTE, remember_ms=10 * MINUTE)
    story.later(MINUTE - 1)
    story.purged()
    story.scanned(final("a", forgotten=True))


@breaks("H23")
def a_dead_record_is_purged_like_a_succeeded_one(story: Story) -> None:
    run_once(story, event=Event.REJECT, retention_ms=0, dead_retention_ms=None)
    story.later(MINUTE)
    story.purged()
    story.scanned(final("a", state=State.DEAD, forgotten=True))


@breaks("H23")
def an_id_is_forgotten_too_early(story: Story) -> None:
    run_once(story, retention_ms=0, remember_ms=MINUTE)
    story.later(MINUTE - 1)
    story.purged()
    story.scanned()


@breaks("H24")
def a_count_drifted(story: Story) -> None:
    story.stored("a", "b")
    story.scanned(waiting("a"), waiting("b"), default=(0, 1, 0, 0, 0, 0))


@breaks("H24")
def a_count_stands_in_the_wrong_state(story: Story) -> None:
    run_once(story)
    story.scanned(final("a"), default=(0, 0, 0, 0, 1, 0))
