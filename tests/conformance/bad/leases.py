"""Bad histories of sessions and their leases."""

from __future__ import annotations

from tests.conformance.bad.registry import MINUTE, breaks
from tests.conformance.story import (
    Story,
    running,
)
from treadle.domain.state import Event


@breaks("H04")
def a_job_is_given_away_while_its_lease_is_good(story: Story) -> None:
    story.opened("s1", "w1")
    story.opened("s2", "w2")
    story.stored("a")
    story.claimed(running("a"))
    story.later(14_999)
    story.beat("s2")
    story.wrote("a", 2, Event.LOSE, attempt=0)
    story.claimed(running("a", 4), session="s2")


@breaks("H04")
def a_renewed_lease_is_taken_all_the_same(story: Story) -> None:
    story.opened("s1", "w1")
    story.stored("a")
    story.claimed(running("a"))
    story.later(10_000)
    story.beat("s1")
    story.opened("s2", "w2")
    story.later(10_000)
    story.claimed(running("a", 4, attempt=1, lost=True), session="s2")


@breaks("H04", "H25")
def a_job_is_claimed_from_under_its_holder(story: Story) -> None:
    story.opened("s1", "w1")
    story.opened("s2", "w2")
    story.stored("a")
    story.claimed(running("a"))
    story.claimed(running("a", 3, attempt=2), session="s2")


@breaks("H09", bound_ms=18_000)
def a_dead_workers_job_starts_again_too_late(story: Story) -> None:
    story.opened("s1", "w1")
    story.stored("a")
    story.claimed(running("a"))
    story.later(18_001)
    story.opened("s2", "w2")
    story.wrote("a", 2, Event.LOSE, attempt=0)
    story.claimed(running("a", 4), session="s2")


@breaks("H09", bound_ms=18_000)
def a_dead_workers_job_never_starts_again(story: Story) -> None:
    story.opened()
    story.stored("a")
    story.claimed(running("a"))
    story.later(MINUTE)
    story.scanned(running("a", claimed=story.now - MINUTE))


@breaks("H15")
def a_held_job_is_overdue(story: Story) -> None:
    story.opened()
    story.stored("a")
    story.claimed(running("a"))
    story.later(14_999)
    story.looked(running("a", claimed=story.now - 14_999))


@breaks("H15")
def a_session_that_was_closed_is_said_to_live(story: Story) -> None:
    story.opened()
    story.stored("a")
    story.claimed(running("a"))
    story.closed()
    story.looked(running("a", claimed=story.now, session_ended=False))


@breaks("H15")
def a_job_is_inherited_from_a_worker_of_another_name(story: Story) -> None:
    story.opened("s1", "w1")
    story.stored("a")
    story.claimed(running("a"))
    story.inherited("s2", "w2", running("a", claimed=story.now))


@breaks("H27")
def a_closed_session_claims(story: Story) -> None:
    story.opened()
    story.stored("a")
    story.closed()
    story.claimed(running("a"))


@breaks("H27")
def a_session_whose_name_was_taken_claims(story: Story) -> None:
    story.opened("s1", "w1")
    story.opened("s2", "w1")
    story.stored("a")
    story.claimed(running("a"), session="s1")


@breaks("H27")
def an_expired_session_claims(story: Story) -> None:
    story.opened()
    story.later(10_000)
    story.beat()
    story.later(15_000)
    story.stored("a")
    story.claimed(running("a"))
