"""Bad histories of unique keys, parents, concurrency keys, handlers and their steps."""

from __future__ import annotations

from tests.conformance.bad.registry import MINUTE, breaks, run_once
from tests.conformance.story import (
    Story,
    running,
)
from treadle.domain.state import Event
from treadle.domain.unique import Scope


@breaks("H14")
def two_jobs_hold_one_key(story: Story) -> None:
    story.stored("a", unique="k")
    story.stored("b", unique="k")


@breaks("H14")
def a_key_is_free_while_its_holder_runs(story: Story) -> None:
    story.stored("a", unique="k")
    story.claimed(running("a"))
    story.stored("b", unique="k")
    story.wrote("a", 2, Event.SUCCEED)


@breaks("H14")
def a_key_is_free_before_its_period_is_over(story: Story) -> None:
    run_once(story, unique="k", scope=Scope.PERIOD, period_ms=MINUTE)
    story.later(MINUTE - 1)
    story.stored("b", unique="k", scope=Scope.PERIOD, period_ms=MINUTE)


@breaks("H14")
def a_retry_takes_a_key_that_another_job_holds(story: Story) -> None:
    run_once(story, unique="k")
    story.stored("b", unique="k")
    story.wrote("a", 3, Event.RETRY, fresh=True, attempt=0)


@breaks("H20", "H25")
def a_child_is_claimed_before_its_parent_ended(story: Story) -> None:
    story.stored("parent")
    story.stored("child", after=(("default", "parent"),))
    story.claimed(running("child"))


@breaks("H20")
def a_child_is_let_go_too_early(story: Story) -> None:
    story.stored("parent")
    story.stored("child", after=(("default", "parent"),))
    story.wrote("child", 1, Event.UNBLOCK, attempt=0)
    story.claimed(running("child", 3))


@breaks("H21")
def more_jobs_run_than_the_limit_allows(story: Story) -> None:
    story.limited("disk", 1)
    story.stored("a", "b", slot="disk")
    story.claimed(running("a", slot="disk"))
    story.claimed(running("b", slot="disk"))


@breaks("H21")
def one_claim_passes_the_limit(story: Story) -> None:
    story.limited("disk", 2)
    story.stored("a", "b", "c", slot="disk")
    story.claimed(*(running(id, slot="disk") for id in "abc"))


@breaks("H18")
def a_handler_runs_twice_for_one_claim(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.ran("a")
    story.ran("a")


@breaks("H18")
def a_handler_runs_without_a_claim(story: Story) -> None:
    story.stored("a")
    story.ran("a")


@breaks("H28")
def a_step_is_written_twice(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.noted("a", "charge", 1, None)
    story.noted("a", "charge", 2, None)


@breaks("H28")
def a_step_forgets_what_was_written_first(story: Story) -> None:
    story.stored("a")
    story.claimed(running("a"))
    story.noted("a", "charge", 1, None)
    story.noted("a", "charge", 2, 2)
