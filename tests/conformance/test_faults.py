"""A bad way to a good store: each fault has the effect that the protocol's errors say it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import anyio
import pytest

from treadle.broker.base import Applied, Conflict, Duplicate
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.faults import HARMLESS_TWICE, Fault, Faults, FaultyBroker, Rates
from treadle.conformance.hand import Hand, act, lease, make_job, stored
from treadle.conformance.history import Recorder, check
from treadle.domain.decide import decide
from treadle.domain.job import Record, Ref
from treadle.domain.outcome import Happening, Interrupted, Refused, Succeeded
from treadle.domain.state import State
from treadle.errors import BrokerError, BrokerUnavailable, SessionEnded, Uncertain
from treadle.plugins import make_broker

pytestmark = pytest.mark.anyio

JOB = make_job("a")


@pytest.fixture
def faults() -> Faults:
    """A good way, until a test makes it bad."""
    return Faults()


@pytest.fixture
def broker(faults: Faults) -> FaultyBroker:
    """A memory broker at the end of the way."""
    return FaultyBroker(make_broker(parse("memory://"), MovableClock()), faults)


async def is_stored(broker: FaultyBroker) -> bool:
    """Tell what stands behind the way."""
    return (await broker.inner.get([Ref("default", "a")]))[0] is not None


async def test_a_good_way_changes_nothing(broker: FaultyBroker) -> None:
    async with broker:
        hand = await Hand.open(broker)
        record = await hand.run(JOB)

    assert record.head.state is State.SUCCEEDED
    assert broker.faults.calls["enqueue"] == 1
    assert broker.faults.told == []


async def test_a_lost_request_stores_nothing(broker: FaultyBroker, faults: Faults) -> None:
    faults.script("enqueue", Fault.LOSE_REQUEST)

    with pytest.raises(BrokerUnavailable):
        await broker.enqueue([JOB])

    assert not await is_stored(broker)


async def test_a_lost_reply_of_an_enqueue_is_uncertain_and_names_the_jobs(
    broker: FaultyBroker, faults: Faults
) -> None:
    faults.script("enqueue", Fault.LOSE_REPLY)

    with pytest.raises(Uncertain) as caught:
        await broker.enqueue([JOB])

    assert caught.value.ids == ("a",)
    assert await is_stored(broker)


async def test_a_lost_reply_of_a_write_is_shown_by_the_fence(
    broker: FaultyBroker, faults: Faults
) -> None:
    hand = await Hand.open(broker)
    await stored(broker, JOB)
    record = await hand.claim_one()
    faults.script("apply", Fault.LOSE_REPLY)
    write = decide(record, Succeeded(), record.job.policy, 0, Random(1))
    assert not isinstance(write, Refused)

    with pytest.raises(BrokerUnavailable):
        await broker.apply([write])
    (answer,) = (await broker.apply([write])).results

    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert answer.record.history[-1].fence == write.fence


async def test_what_a_claim_gave_without_a_reply_is_found_as_an_orphan(
    broker: FaultyBroker, faults: Faults
) -> None:
    hand = await Hand.open(broker)
    await stored(broker, JOB)
    faults.script("claim", Fault.LOSE_REPLY)

    with pytest.raises(BrokerUnavailable):
        await hand.claim()

    pulse = await broker.heartbeat(hand.session, [])
    assert [record.job.id for record in pulse.orphans] == ["a"]


async def test_a_request_that_arrives_twice_is_answered_once(
    broker: FaultyBroker, faults: Faults
) -> None:
    faults.script("enqueue", Fault.TWICE)

    (answer,) = (await broker.enqueue([JOB])).results

    assert isinstance(answer, Applied)


async def test_a_driver_that_asks_again_gets_the_second_answer(
    broker: FaultyBroker, faults: Faults
) -> None:
    faults.script("enqueue", Fault.RESENT)

    (answer,) = (await broker.enqueue([JOB])).results

    assert isinstance(answer, Duplicate)


@pytest.mark.parametrize("call", ["claim", "turn", "open", "note", "put_document", "purge"])
async def test_what_must_not_happen_twice_is_never_doubled(faults: Faults, call: str) -> None:
    assert call not in HARMLESS_TWICE
    with pytest.raises(ValueError, match=f"call {call} twice"):
        faults.script(call, Fault.TWICE)


async def test_nothing_gets_through_while_the_way_is_cut(
    broker: FaultyBroker, faults: Faults
) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [broker.connect, broker.stats, broker.sessions]
    faults.cut()

    for call in calls:
        with pytest.raises(BrokerUnavailable):
            await call()
    await broker.disconnect()
    faults.mend()
    for call in calls:
        await call()


async def test_single_calls_can_be_cut(broker: FaultyBroker, faults: Faults) -> None:
    faults.cut("get")

    await broker.enqueue([JOB])

    with pytest.raises(BrokerUnavailable):
        await broker.get([Ref("default", "a")])


async def test_a_call_that_hangs_was_carried_out_and_can_be_cancelled(
    broker: FaultyBroker, faults: Faults
) -> None:
    faults.script("enqueue", Fault.HANG)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broker.enqueue, [JOB])
        await anyio.wait_all_tasks_blocked()
        assert await is_stored(broker)
        tasks.cancel_scope.cancel()


async def test_calls_can_be_held_before_they_arrive(broker: FaultyBroker, faults: Faults) -> None:
    faults.hold("enqueue")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broker.enqueue, [JOB])
        await anyio.wait_all_tasks_blocked()
        assert not await is_stored(broker)
        faults.let_go("enqueue")

    assert await is_stored(broker)


async def test_who_asks_without_end_is_stopped(broker: FaultyBroker, faults: Faults) -> None:
    faults.most["stats"] = 2
    await broker.stats()
    await broker.stats()

    with pytest.raises(AssertionError, match="stats was called more than 2 times"):
        await broker.stats()


async def test_another_broker_goes_the_same_way(broker: FaultyBroker, faults: Faults) -> None:
    async with broker, broker.another() as other:
        faults.script("stats", Fault.LOSE_REQUEST)

        with pytest.raises(BrokerUnavailable):
            await other.stats()
        await broker.stats()


async def troubled(seed: int, rates: Rates) -> tuple[list[tuple[str, Fault]], Recorder]:
    """Work off some jobs on a way that a seed makes bad, and write down what happened."""
    faults = Faults(Random(seed), rates)
    clock = MovableClock()
    inner = make_broker(parse("memory://"), clock)
    broker = Recorder(FaultyBroker(inner, faults))
    numbers = Random(seed)
    hand: Hand | None = None
    held: list[Record] = []
    for number in range(120):
        clock.advance(numbers.randrange(300))
        try:
            if hand is None:
                hand = await Hand.open(broker, "w1", 2_000)
            await broker.enqueue([make_job(f"j{number % 80}")])
            held += await hand.claim(2)
            while held:
                ends: list[Happening] = [Succeeded(), Interrupted()]
                await act(broker, held[-1], numbers.choice(ends))
                held.pop()
            pulse = await broker.heartbeat(hand.session, [lease(record) for record in held])
            for record in pulse.orphans:
                await act(broker, record, Interrupted(started=False))
        except SessionEnded:
            hand = None
        except BrokerError:
            held = held[:1]
    await Recorder(inner, broker.history).scan()
    return faults.told, broker


@pytest.mark.promise(1, 3, 4, 9)
@pytest.mark.parametrize("seed", range(5))
async def test_a_seed_makes_a_bad_way_and_every_law_holds_on_it(seed: int) -> None:
    rates = Rates(delay=0, outage=0)

    told, broker = await troubled(seed, rates)

    found = check(broker.history.calls)
    assert not found, "\n".join(str(violation) for violation in found)
    assert {fault for _, fault in told} == set(Fault) - {Fault.HANG}


async def test_the_same_seed_makes_the_same_faults() -> None:
    rates = Rates(delay=0)

    first, _ = await troubled(7, rates)
    second, _ = await troubled(7, rates)
    other, _ = await troubled(8, rates)

    assert first == second
    assert first != other
