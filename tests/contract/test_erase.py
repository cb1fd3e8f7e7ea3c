"""Erasing removes all that a namespace holds, and nothing else."""

from __future__ import annotations

import anyio
import pytest

from treadle.broker.base import Broker
from treadle.broker.url import parse, with_namespace
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, stored
from treadle.errors import BrokerUnavailable, SessionEnded

pytestmark = pytest.mark.anyio


def beside(broker: Broker, namespace: str, clock: MovableClock) -> Broker:
    """Make a broker on another namespace of the same URL."""
    url = parse(with_namespace(broker.url.raw, namespace))
    made: Broker = type(broker)(url, clock)  # type: ignore[call-arg]  # as every plugin makes one
    return made


async def holds_nothing(broker: Broker) -> bool:
    """Tell whether a store is as if it had never been used."""
    events = await broker.events("0")
    return (
        not (await broker.stats()).queues
        and not await broker.sessions()
        and not await broker.limits()
        and not await broker.documents("")
        and not events.entries
    )


async def fill(broker: Broker, hand: Hand) -> None:
    """Leave something of everything that a store can hold."""
    await hand.run(make_job("done"))
    await stored(broker, make_job("waiting", key="k"), make_job("elsewhere", queue="mail"))
    await broker.set_limit("k", 3)
    await broker.set_queue_limit("mail", 9)
    await broker.pause("mail", paused=True)
    await broker.put_document("note", b"{}", 0)


async def test_an_erased_store_holds_nothing(broker: Broker, hand: Hand) -> None:
    await fill(broker, hand)

    await broker.erase()

    assert await holds_nothing(broker)


async def test_an_erased_store_can_be_used_again(broker: Broker, hand: Hand) -> None:
    await fill(broker, hand)

    await broker.erase()
    await broker.connect()

    again = await Hand.open(broker)
    await stored(broker, make_job("done"))
    assert ids(await again.claim()) == ["done"]


async def test_an_erased_session_has_ended(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())

    await broker.erase()

    with pytest.raises(SessionEnded):
        await hand.claim()


async def test_erasing_twice_or_what_never_was_is_harmless(
    broker: Broker, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    never = beside(broker, "never", clock)

    await broker.erase()
    await broker.erase()
    await never.erase()

    assert await holds_nothing(broker)


async def test_erasing_leaves_other_namespaces_alone(broker: Broker, clock: MovableClock) -> None:
    async with beside(broker, "neighbour", clock) as other:
        await stored(other, make_job("kept"))

        await broker.erase()

        assert ids(await (await Hand.open(other)).claim()) == ["kept"]


async def test_erasing_one_namespace_leaves_the_default_alone(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("kept"))
    other = beside(broker, "neighbour", clock)
    async with other:
        await stored(other, make_job("gone"))

    await other.erase()

    assert ids(await hand.claim()) == ["kept"]


async def test_another_broker_of_the_store_is_refused_or_finds_nothing(broker: Broker) -> None:
    async with broker.another() as twin:
        await stored(twin, make_job())

        await broker.erase()

        with anyio.fail_after(300):
            while not await _is_empty(twin):
                pass
        await stored(twin, make_job("new"))
        assert (await twin.stats()).queues[0].waiting == 1


async def _is_empty(broker: Broker) -> bool:
    try:
        return await holds_nothing(broker)
    except BrokerUnavailable:
        return False
