"""One program on several brokers: they may differ only where the protocol leaves freedom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from treadle.broker.base import Clock
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import BrokerUrl
from treadle.broker.values import Applied, Claimed, Enqueued, Overdue, Page, SessionInfo
from treadle.conformance import Subject
from treadle.conformance.differential import Divergence, compare, compare_program
from treadle.conformance.hand import make_job
from treadle.conformance.model import calls
from treadle.conformance.mutants.trial import known
from treadle.conformance.program import (
    Claim,
    Elapse,
    Enqueue,
    Exchange,
    How,
    LimitKey,
    NewJob,
    Open,
    Settle,
    script,
)
from treadle.conformance.program.comparison import Names, compare_exchanges, outcome
from treadle.conformance.program.ops import Op
from treadle.domain.head import claimed, first
from treadle.domain.job import Head, Record
from treadle.errors import SessionEnded

CLAIM = calls.Claim(session="s", queues=("default",), limit=2)


def record(name: str, session: str, now: int = 5) -> Record:
    """Show a claimed job."""
    job = make_job(name)
    return Record(job=job, head=claimed(first(job, now, 1), session, now), created=now)


def test_memory_and_sqlite_do_the_same(tmp_path: Path) -> None:
    subjects = [Subject("memory://"), Subject(f"sqlite:///{tmp_path}/jobs.db")]

    found = compare(subjects, 20, seed=1).found

    assert found is None, script(found.program, found.error)


def test_a_broker_whose_time_runs_is_compared_with_one_whose_time_is_moved() -> None:
    def make(url: BrokerUrl, clock: Clock) -> MemoryBroker:
        return MemoryBroker(url, clock)

    subjects = [Subject("memory://", make=make), Subject("memory://", make=make, movable=False)]

    found = compare(subjects, 4, seed=2).found

    assert found is None, script(found.program, found.error)


class Slow(MemoryBroker):
    """Takes longer to store a job than the shortest lease lasts."""

    async def enqueue(self, *args: Any, **options: Any) -> Enqueued:
        await anyio.sleep(0.12)
        return await super().enqueue(*args, **options)


@pytest.mark.anyio
async def test_a_lease_that_ends_between_two_calls_ends_for_every_broker() -> None:
    seen: list[Exchange] = []
    subjects = [Subject("memory://"), Subject("memory://slow", make=Slow, movable=False)]
    program = (
        Open(worker="ada", lease=1),
        Enqueue((NewJob(id="a", policy="brief"),)),
        Claim(worker="ada"),
        Claim(worker="ada"),
    )

    await compare_program(subjects, program, show=seen.append)

    answers = [one.answer for one in seen if isinstance(one.call, calls.Claim)]
    assert [isinstance(one, SessionEnded) for one in answers] == [True, False] * 2


@pytest.mark.anyio
async def test_two_brokers_whose_time_runs_are_compared_through_one_that_each_leads() -> None:
    seen: list[Exchange] = []
    subjects = [
        Subject("memory://", make=MemoryBroker, movable=False),
        Subject("memory://slow", make=Slow, movable=False),
    ]
    program = (Open(worker="ada", lease=1), Enqueue((NewJob(id="a"),)), Claim(worker="ada"))

    await compare_program(subjects, program, show=seen.append)

    assert sum(isinstance(one.call, calls.Claim) for one in seen) >= 4


STEADY = Open(worker="ada", lease=1_000)
FAULTS: dict[str, tuple[Op, ...]] = {
    "M12": (
        Enqueue((NewJob(id="a"), NewJob(id="b", priority=0))),
        STEADY,
        Claim(worker="ada"),
    ),
    "M38": (Open(worker="ada", lease=1), Elapse(2), Claim(worker="ada")),
    "M56": (
        LimitKey("slot", 1),
        Enqueue((NewJob(id="a", key="slot"), NewJob(id="b", key="slot"))),
        STEADY,
        Claim(worker="ada", limit=2),
        Settle(worker="ada", ends=((0, How.SUCCEED),)),
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("id", FAULTS)
async def test_what_is_broken_is_seen_where_time_runs_too(id: str) -> None:
    (mutant,) = known([id])
    broken = Subject("memory://broken", make=mutant.make, movable=False)

    with pytest.raises(AssertionError) as caught:
        await compare_program([Subject("memory://"), broken], FAULTS[id])

    assert "on memory://broken" in caught.value.__notes__


class Backwards(MemoryBroker):
    """Claims in the wrong order."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        claimed = await super().claim(*args, **options)
        return structs.replace(claimed, records=list(claimed.records)[::-1])


@pytest.mark.anyio
async def test_it_is_said_which_broker_was_wrong() -> None:
    wrong = Subject("memory://wrong", make=Backwards)
    program = (Enqueue((NewJob(id="a"), NewJob(id="b"))), Claim(worker="ada", limit=2))

    with pytest.raises(AssertionError) as caught:
        await compare_program([Subject("memory://"), wrong], program)

    assert any("memory://wrong" in note for note in caught.value.__notes__)


def test_instants_and_names_of_sessions_may_differ() -> None:
    mine = [Exchange(0, CLAIM, Claimed(now=5, records=[record("a", "x#1")]))]
    theirs = [Exchange(0, CLAIM, Claimed(now=9, records=[record("a", "7", 9)]))]

    compare_exchanges("one", mine, "other", theirs)


def told(fence: int, claimed_with: int) -> list[Exchange]:
    """Tell of a job that was stored under one fence and claimed with another."""
    stored = calls.Enqueue((make_job("a"),))
    claimed = structs.replace(record("a", "s"), head=head_of(claimed_with))
    return [
        Exchange(0, stored, Enqueued(now=5, results=[Applied(fence=fence)])),
        Exchange(1, CLAIM, Claimed(now=5, records=[claimed])),
    ]


def head_of(fence: int) -> Head:
    """Return the head of a claimed job."""
    return structs.replace(record("a", "s").head, fence=fence)


def test_where_the_fences_of_a_job_begin_may_differ() -> None:
    compare_exchanges("one", told(1, 2), "other", told(70, 71))


def test_how_far_a_fence_moves_may_not_differ() -> None:
    with pytest.raises(Divergence):
        compare_exchanges("one", told(1, 2), "other", told(70, 72))


def test_the_fences_of_a_later_life_are_counted_anew() -> None:
    gone = calls.Purge(1)
    apart = [
        [*told(begins, begins + 1), Exchange(2, gone, 1), *told(again, again + 1)]
        for begins, again in ((1, 2), (1, 900))
    ]

    compare_exchanges("one", apart[0], "other", apart[1])


def test_the_order_of_claims_may_not_differ() -> None:
    one, two = record("a", "s"), record("b", "s")
    mine = [Exchange(0, CLAIM, Claimed(now=5, records=[one, two]))]
    theirs = [Exchange(0, CLAIM, Claimed(now=5, records=[two, one]))]

    with pytest.raises(Divergence, match="other:"):
        compare_exchanges("one", mine, "other", theirs)


def test_where_there_is_freedom_the_comparison_ends() -> None:
    one, two = record("a", "s"), record("b", "s")
    last = Exchange(1, CLAIM, Claimed(now=5, records=[]))
    mine = [Exchange(0, CLAIM, Claimed(now=5, records=[one]), is_free=True), last]
    theirs = [Exchange(0, CLAIM, Claimed(now=5, records=[two])), last]

    compare_exchanges("one", mine, "other", theirs)


def test_what_an_answer_does_not_show_is_compared_too() -> None:
    applied = calls.SetLimit("slot", 1)
    mine = [Exchange(0, applied, None, after=(record("a", "s"),))]
    theirs = [Exchange(0, applied, None, after=(None,))]

    with pytest.raises(Divergence):
        compare_exchanges("one", mine, "other", theirs)


def test_what_is_only_remembered_may_be_forgotten_when_it_is_looked_for() -> None:
    remembered = structs.replace(record("a", "s"), forgotten=True)
    mine = [Exchange(0, calls.Purge(1), 1, after=(remembered,))]
    theirs = [Exchange(0, calls.Purge(1), 1, after=(None,))]

    compare_exchanges("one", mine, "other", theirs)


def test_sets_are_compared_without_their_order() -> None:
    names = Names()
    one, two = record("a", "s"), record("b", "s")
    sessions = [
        SessionInfo(session=name, name=name, lease_ms=1, expires=1, opened=1, running=0)
        for name in "ab"
    ]

    forth = outcome(Overdue(now=1, records=(one, two)), names)

    assert forth == outcome(Overdue(now=2, records=(two, one)), names)
    assert outcome(sessions, names) == outcome(sessions[::-1], names)
    assert outcome(Page(now=1, records=(one, two)), names) != outcome(
        Page(now=1, records=(two, one)), names
    )
