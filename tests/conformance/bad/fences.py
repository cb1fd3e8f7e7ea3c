"""Bad histories of fences, attempts and the writes that carry them."""

from __future__ import annotations

from tests.conformance.bad.registry import breaks, run_once
from tests.conformance.story import (
    Story,
    conflict,
    final,
    running,
    waiting,
)
from treadle.conformance.history.events import Told
from treadle.domain.state import Event, State


@breaks("H05")
def two_workers_get_a_job_under_one_fence(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.claimed(running("a"))


@breaks("H05")
def one_claim_gives_a_job_twice(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"), running("a"))


@breaks("H05")
def a_fence_falls(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a", 2))
    story.wrote("a", 2, Event.FAIL)
    story.got(waiting("a", 1))


@breaks("H05")
def a_hand_back_does_not_raise_the_fence(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.INTERRUPT, told=Told(fence=2))


@breaks("H05")
def a_forgotten_id_begins_with_a_fence_that_it_had(story: Story) -> None:
    run_once(story, retention_ms=0, remember_ms=0)
    story.purged()
    story.stored("a", told=Told(fence=3))


@breaks("H06")
def an_attempt_too_many_begins(story: Story) -> None:
    story.stored("a", max_attempts=1)
    story.claimed(running("a"))
    story.wrote("a", 2, Event.FAIL)
    story.claimed(running("a", 4, attempt=2))


@breaks("H06")
def an_attempt_is_not_counted(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.FAIL, attempt=1)
    story.claimed(running("a", 4, attempt=1))


@breaks("H06")
def a_hand_back_is_counted_as_an_attempt(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.INTERRUPT, attempt=0)
    story.claimed(running("a", 4, attempt=2))


@breaks("H03", "H08")
def a_late_success_is_accepted_under_a_stale_fence(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.LOSE, attempt=0)
    story.claimed(running("a", 4))
    story.wrote("a", 2, Event.SUCCEED)


@breaks("H08")
def two_hand_backs_are_accepted_under_one_fence(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.INTERRUPT)
    story.wrote("a", 2, Event.INTERRUPT)


@breaks("H08")
def a_late_cancel_request_is_accepted(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.FAIL)
    story.claimed(running("a", 4, attempt=2))
    story.asked_to_cancel("a", 2)


@breaks("H08")
def a_record_that_was_retried_is_removed(story: Story) -> None:
    run_once(story)
    story.wrote("a", 3, Event.RETRY, fresh=True)
    story.removed("a", 3)


@breaks("H08")
def a_worker_of_a_forgotten_life_writes_into_the_next_one(story: Story) -> None:
    run_once(story, retention_ms=0, remember_ms=0)
    story.purged()
    story.stored("a", told=Told(fence=4))
    story.wrote("a", 2, Event.SUCCEED)


@breaks("H17")
def a_record_is_not_as_it_was_written(story: Story) -> None:
    run_once(story)
    story.got(final("a", state=State.DEAD))


@breaks("H17")
def two_answers_show_two_heads(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a", session="s1"))
    story.looked(running("a", session="s2", claimed=story.now))


@breaks("H22")
def a_job_that_was_to_be_cancelled_waits_again(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.asked_to_cancel("a", 2)
    story.wrote("a", 2, Event.FAIL)


@breaks("H25")
def a_running_job_is_claimed(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a", 2))
    story.claimed(running("a", 3, attempt=2))


@breaks("H25")
def a_job_blocked_by_a_write_is_claimed(story: Story) -> None:
    story.stored("a")
    story.wrote("a", 1, Event.BLOCK, attempt=0)
    story.claimed(running("a", 3))


@breaks("H26")
def a_write_under_the_right_fence_is_refused(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SUCCEED, told=conflict(running("a", claimed=story.now)))


@breaks("H26")
def a_cancelled_job_may_not_end(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.asked_to_cancel("a", 2)
    stands = running("a", cancel=True, claimed=story.now)
    story.wrote("a", 2, Event.CANCEL, told=conflict(stands))


@breaks("H26")
def a_write_meets_nothing(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.FAIL, told=conflict(None))
