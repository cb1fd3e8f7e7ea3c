"""The laws of histories: every bad history is caught by its law, and no good one by any."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from tests.conformance.bad import fences, flow, jobs, leases, order
from tests.conformance.bad.registry import BAD, Bad
from tests.conformance.play import ERROR, Play, Site
from tests.conformance.story import UNKNOWN, Story, known, running, waiting
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, act, make_job
from treadle.conformance.history import LAWS, History, How, check
from treadle.conformance.history.events import Call, Open
from treadle.domain.job import Ref
from treadle.domain.outcome import Failed, Lost, Succeeded
from treadle.domain.state import Event, State
from treadle.errors import BrokerUnavailable, SessionEnded, Uncertain
from treadle.plugins import make_broker

MODULES = (fences, flow, jobs, leases, order)
"""Where bad histories are written."""


def broken(calls: list[Call], bad: Bad) -> list[str]:
    """Return the ids of the laws that a bad history breaks."""
    return sorted({violation.law for violation in check(calls, **bad.terms)})


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_a_bad_history_is_caught_by_its_law_and_by_no_other(bad: Bad) -> None:
    story = Story()
    bad.tell(story)

    assert broken(story.calls, bad) == sorted(bad.laws)


def test_every_law_catches_a_bad_history() -> None:
    caught = {law for bad in BAD for law in bad.laws}

    assert caught == {law.id for law in LAWS}
    assert {bad.tell.__module__ for bad in BAD} == {module.__name__ for module in MODULES}
    assert len(BAD) >= 40


def test_a_violation_tells_the_law_the_job_and_the_calls() -> None:
    story = Story()
    story.stored("a")
    story.claimed(running("a"))
    story.wrote("a", 2, Event.SUCCEED)
    story.claimed(running("a", 4))

    (first, *_) = check(story.calls)

    assert str(first).startswith("H03 a job is final once in each run: a of queue default was cl")
    assert [call.number for call in first.calls] == [3, 4]


def test_what_overlaps_is_not_judged() -> None:
    story = Story()
    story.opened("s1", "w1")
    story.opened("s2", "w2")
    first = story.stored("a")
    second = story.stored("b")
    second.begun = first.begun
    story.claimed(running("b"))
    story.claimed(running("a"))
    pause = story.paused()
    story.claimed(running("c", 2)).begun = pause.begun
    story.stored("c", told=UNKNOWN).begun = pause.begun

    assert not check(story.calls)


def test_an_uncertain_call_may_have_gone_either_way() -> None:
    story = Story()
    story.stored("here", "away", told=UNKNOWN)
    story.stored("here", told=known(waiting("here")))
    story.claimed(running("here"))
    story.wrote("here", 2, Event.SUCCEED, told=UNKNOWN)
    story.scanned(running("here", claimed=story.now))

    assert not check(story.calls)


def test_a_claim_that_waits_may_outlast_a_renewal_that_nobody_heard_of() -> None:
    story = Story()
    story.opened(lease_ms=3_000)
    story.stored("a")
    beat = story.beat(how=How.UNKNOWN)
    story.later(4_000)
    story.claimed(running("a")).begun = beat.begun - 1

    assert not check(story.calls)


def test_a_job_may_be_claimed_before_the_second_sending_of_its_enqueue_is_answered() -> None:
    story = Story()
    story.opened()
    claimed = story.now
    story.later(1_000)
    stored = story.stored("a", told=known(running("a", claimed=claimed)))
    story.claimed(running("a", claimed=claimed)).ended = stored.ended - 0.5

    assert not [each for each in check(story.calls) if each.law == "H19"]


def test_a_write_that_nobody_heard_of_does_not_forbid_the_claim_that_came_first() -> None:
    story = Story()
    story.opened()
    story.stored("a")
    story.wrote("a", 1, Event.CANCEL, told=UNKNOWN)
    story.claimed(running("a"))

    assert not check(story.calls)


def test_a_write_that_nobody_heard_of_does_not_say_when_a_job_is_due() -> None:
    story = Story()
    story.opened()
    story.stored("a", after=(("default", "b"),))
    story.wrote("a", 2, Event.CANCEL, at=2**53 - 1, told=UNKNOWN)
    story.claimed(running("a", 4))  # the broker itself had unblocked it

    assert not check(story.calls)


def test_an_uncertain_open_may_end_a_later_session_of_its_name() -> None:
    story = Story()
    story.tell(Open("w1", 15_000), how=How.UNKNOWN)
    story.opened("s1", "w1")
    story.opened("s2", "w2")
    story.stored("a")
    story.claimed(running("a"))
    story.looked(running("a", claimed=story.now, session_ended=True))
    story.wrote("a", 2, Event.LOSE, attempt=0)
    story.claimed(running("a", 4), session="s2")
    story.opened("s3", "w1")

    assert not check(story.calls)


def test_a_restart_is_bounded_only_for_jobs_that_were_claimed() -> None:
    story = Story()
    story.stored("a")
    story.scanned(waiting("a"))

    assert not check(story.calls, bound_ms=1_000)


# Good histories, of real brokers


@pytest.fixture(params=["memory", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A recorded broker."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    clock = MovableClock()
    return Site(make_broker(parse(url), clock), clock)


def in_memory() -> Site:
    """Make a recorded memory broker."""
    clock = MovableClock()
    return Site(make_broker(parse("memory://"), clock), clock)


@pytest.mark.promise(1, 3, 4, 11, 15)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.anyio
async def test_a_real_broker_keeps_every_law_whatever_is_asked_of_it(site: Site, seed: int) -> None:
    async with site.broker:
        play = Play(site, seed)
        for _ in range(300):
            await play.step()

        await site.judge()

        seen = Counter(type(call.what).__name__ for call in site.broker.history.calls)
        assert seen["Claim"] > 20
        for hand in play.hands:
            await hand.broker.disconnect()


@pytest.mark.anyio
async def test_a_takeover_after_a_lost_lease_keeps_every_law(site: Site) -> None:
    async with site.broker as broker:
        first = await Hand.open(broker, "w1", 5_000)
        await broker.enqueue([make_job("a")])
        stale = await first.claim_one()
        site.clock.advance(5_000)
        (record,) = (await broker.overdue(10)).records
        await act(broker, record, Lost(ended=False))
        second = await Hand.open(broker, "w2", 5_000)
        again = await second.claim_one()
        await act(broker, stale, Succeeded())
        await second.end(again, Succeeded())

        await site.judge(drained=True, bound_ms=5_000)


@pytest.mark.anyio
async def test_a_restart_in_place_keeps_every_law(site: Site) -> None:
    async with site.broker as broker:
        await (await Hand.open(broker, "w1", 5_000)).run(make_job("a"), Failed(error=ERROR))
        await broker.enqueue([make_job("b")])
        await (await Hand.open(broker, "w1", 5_000)).claim_one()
        opened = await broker.open("w1", 5_000, b"{}")
        for record in opened.inherited:
            await act(broker, record, Lost())
        assert opened.inherited

        await site.judge()


@pytest.mark.anyio
async def test_the_recorder_tells_what_had_no_effect_from_what_may_have_had_one() -> None:
    site = in_memory()
    history = site.broker.history

    class Trouble(Exception): ...

    def how(call: Call, error: BaseException) -> How:
        history.failed(call, error)
        return call.how

    async with site.broker as broker:
        await broker.enqueue([make_job("a")])
        hand = await Hand.open(broker)
        record = await hand.claim_one()
        await broker.turn(hand.session, [], ["default"], 1)
        await broker.overdue(1)
        await hand.end(record, Succeeded())
    calls = {type(call.what).__name__: call for call in history.calls}
    away = BrokerUnavailable("away")

    assert calls["Enqueue"].how is How.OK
    assert how(calls["Enqueue"], away) is How.FAIL
    assert how(calls["Enqueue"], Uncertain("lost")) is How.UNKNOWN
    assert how(calls["Enqueue"], Trouble()) is How.UNKNOWN
    assert how(calls["Apply"], away) is How.UNKNOWN
    assert how(calls["Claim"], SessionEnded("closed")) is How.FAIL
    assert how(calls["Turn"], SessionEnded("closed")) is How.UNKNOWN
    assert how(calls["Look"], away) is How.FAIL


@pytest.mark.anyio
async def test_a_cancelled_call_is_unknown() -> None:
    site = in_memory()

    async with site.broker as broker:
        session = (await broker.open("w", 5_000, b"{}")).session
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.claim, session, ["default"], 1, 3_600_000)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    assert broker.history.calls[-1].how is How.UNKNOWN


@pytest.mark.anyio
async def test_another_broker_writes_the_same_history() -> None:
    site = in_memory()

    async with site.broker as broker, broker.another() as other:
        await broker.enqueue([make_job("a")])
        await other.enqueue([make_job("b")])

    assert [call.client for call in broker.history.calls] == ["c1", "c2"]


@pytest.mark.anyio
async def test_a_history_can_be_written_down_merged_and_judged_again() -> None:
    site = in_memory()
    async with site.broker as broker:
        play = Play(site, 3)
        for _ in range(100):
            await play.step()
        history = broker.history
        history.note_run(Ref("default", "nobody"), 7, begins=True)
        before = [str(violation) for violation in check(history.calls)]

    again = History.load(history.dump())

    assert [str(call) for call in again.calls] == [str(call) for call in history.calls]
    assert [str(violation) for violation in check(again.calls)] == before
    assert [violation.law for violation in check(again.calls)] == ["H18"]
    assert {call.client[:3] for call in History.load(b"", history.dump()).calls} == {"p2."}


def test_a_run_of_a_handler_is_noted() -> None:
    story = Story()
    story.stored("a")
    story.claimed(running("a"))
    history = History(iter(range(1_000, 2_000)).__next__)
    history.note_run(Ref("default", "a"), 2, begins=True)
    history.note_run(Ref("default", "a"), 2, begins=False)

    (run,) = history.calls
    assert run.how is How.OK
    assert not check([*story.calls, run])


@pytest.mark.slow
def test_a_history_of_100_000_calls_is_judged_in_seconds_and_not_in_hours() -> None:
    story = Story()
    story.opened(lease_ms=10**9)
    for number in range(33_300):
        id = f"job-{number}"
        story.stored(id, priority=2, slot="" if number % 7 else "disk")
        story.claimed(running(id, slot="" if number % 7 else "disk"))
        story.wrote(id, 2, Event.SUCCEED)
    story.scanned(
        *[structs.replace(running(f"job-{n}", 3), state=State.SUCCEEDED) for n in range(33_300)]
    )

    began = time.process_time()
    found = check(story.calls, drained=True)
    took = time.process_time() - began

    assert not found
    assert took < 100, f"it took {took:.1f} s"
