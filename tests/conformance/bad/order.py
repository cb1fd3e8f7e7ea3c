"""Bad histories of the order and the moment in which jobs are handed out."""

from __future__ import annotations

from tests.conformance.bad.registry import MINUTE, breaks
from tests.conformance.story import (
    Story,
    running,
    waiting,
)
from treadle.conformance.history.events import Claim, Turn
from treadle.domain.state import Event


@breaks("H12")
def the_second_job_is_claimed_first(story: Story) -> None:
    story.stored("a")
    story.stored("b")
    story.claimed(running("b"))
    story.claimed(running("a"))


@breaks("H12")
def jobs_of_one_call_are_claimed_in_reverse(story: Story) -> None:
    story.stored("a", "b", "c")
    story.claimed(running("a"), running("c"))
    story.claimed(running("b"))


@breaks("H12")
def a_claim_gives_jobs_in_reverse(story: Story) -> None:
    story.stored("a", "b")
    story.claimed(running("b"), running("a"))


@breaks("H13")
def a_paused_queue_gives_a_job(story: Story) -> None:
    story.stored("a")
    story.paused()
    story.claimed(running("a"))


@breaks("H13")
def a_turn_ignores_the_pause(story: Story) -> None:
    story.stored("a")
    story.paused()
    claimed = story.claimed(running("a"))
    claimed.what = Turn("s1", (), ("default",))


@breaks("H13")
def a_claim_that_waited_ignores_the_pause(story: Story) -> None:
    begun = story.opened().begun
    story.paused()
    story.stored("a")
    story.claimed(running("a")).begun = begun


@breaks("H16")
def a_lower_priority_goes_first(story: Story) -> None:
    story.stored("low", priority=3)
    story.stored("high", priority=0)
    story.claimed(running("low"))
    story.claimed(running("high"))


@breaks("H16")
def a_job_of_a_high_priority_starves(story: Story) -> None:
    story.stored("high", priority=1)
    story.stored("low", priority=2)
    story.claimed(running("low"))
    story.scanned(waiting("high"), running("low", claimed=story.now))


@breaks("H16")
def a_claim_gives_priorities_in_the_wrong_order(story: Story) -> None:
    story.stored("low", priority=3)
    story.stored("high", priority=0)
    story.claimed(running("low"), running("high"))


@breaks("H16")
def a_claim_gives_queues_in_the_wrong_order(story: Story) -> None:
    story.stored("a", queue="first")
    story.stored("b", queue="second")
    asked = ("first", "second")
    first, second = running("a", queue="first"), running("b", queue="second")
    story.claimed(second, first, queues=asked)
    assert isinstance(story.calls[-1].what, Claim)


@breaks("H19")
def a_delayed_job_is_claimed_too_early(story: Story) -> None:
    story.stored("a", delay_ms=MINUTE)
    story.later(MINUTE - 1)
    story.claimed(running("a"))


@breaks("H19")
def a_retry_does_not_wait(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.FAIL, delay_ms=1_000)
    story.claimed(running("a", 4, attempt=2))


@breaks("H19")
def a_snoozed_job_comes_before_its_instant(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SNOOZE, attempt=0, at=story.now + 10)
    story.later(9)
    story.claimed(running("a", 4))
