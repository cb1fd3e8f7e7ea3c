"""What a broker says about itself, and what connecting, disconnecting and erasing leave behind."""

from __future__ import annotations

from treadle.broker.base import Broker, Capability, Durability, Filter
from treadle.conformance.case import case
from treadle.conformance.hand import Hand, ids, make_job, stored
from treadle.conformance.lab import Lab, raising
from treadle.errors import BrokerUnavailable, SessionEnded


@case("C821", "a broker says what it promises")
async def a_broker_says_what_it_promises(lab: Lab) -> None:
    broker = lab.broker
    description = await broker.describe()

    assert description.name
    assert description.version
    durable = description.durability is not Durability.NONE
    assert durable == (Capability.DURABLE in broker.capabilities)


@case("C822", "a broker knows its url and its room")
async def a_broker_knows_its_url_and_its_room(lab: Lab) -> None:
    broker = lab.broker
    assert broker.url.scheme in str(broker.url)
    assert broker.max_record >= 64 * 1024


@case("C823", "connecting twice is harmless")
async def connecting_twice_is_harmless(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"))

    await broker.connect()

    assert [queue.waiting for queue in (await broker.stats()).queues] == [1]


@case("C824", "disconnecting twice is harmless")
async def disconnecting_twice_is_harmless(lab: Lab) -> None:
    broker = lab.broker
    other = broker.another()
    await other.connect()

    await other.disconnect()
    await other.disconnect()

    await stored(broker, make_job())


@case("C825", "sessions stay when a broker disconnects")
async def sessions_stay_when_a_broker_disconnects(lab: Lab) -> None:
    broker = lab.broker
    async with broker.another() as other:
        hand = await Hand.open(other)
        await stored(other, make_job("a"))

    assert len((await broker.claim(hand.session, ["default"], 1)).records) == 1


@case("C831", "an erased store holds nothing")
async def an_erased_store_holds_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await fill(broker, hand)

    await broker.erase()
    await broker.connect()

    assert await holds_nothing(broker)


@case("C832", "an erased store can be used again")
async def an_erased_store_can_be_used_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await fill(broker, hand)

    await broker.erase()
    await broker.connect()

    again = await lab.hand()
    await stored(broker, make_job("done"))
    assert ids(await again.claim()) == ["done"]


@case("C833", "an erased session has ended")
async def an_erased_session_has_ended(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    await broker.erase()
    await broker.connect()

    with raising(SessionEnded):
        await hand.claim()


@case("C834", "erasing twice is harmless")
async def erasing_twice_is_harmless(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job())

    await broker.erase()
    await broker.erase()
    await broker.connect()

    assert await holds_nothing(broker)


@case("C835", "erasing leaves other namespaces alone")
async def erasing_leaves_other_namespaces_alone(lab: Lab) -> None:
    async with lab.neighbour() as other:
        await stored(other, make_job("kept"))
        await stored(lab.broker, make_job("gone"))

        await lab.broker.erase()

        assert ids(await (await Hand.open(other)).claim()) == ["kept"]


@case("C836", "namespaces know nothing of each other")
async def namespaces_know_nothing_of_each_other(lab: Lab) -> None:
    async with lab.neighbour() as other:
        await fill(other, await Hand.open(other))

        assert await holds_nothing(lab.broker)


@case("C837", "another broker of an erased store is refused or finds nothing")
async def another_broker_of_an_erased_store_is_refused_or_finds_nothing(lab: Lab) -> None:
    twin = await lab.second()
    await stored(twin, make_job())

    await lab.broker.erase()

    while True:
        try:
            assert await holds_nothing(twin)
            break
        except BrokerUnavailable:
            await lab.broker.connect()
    await stored(twin, make_job("new"))
    assert [queue.waiting for queue in (await twin.stats()).queues] == [1]


async def fill(broker: Broker, hand: Hand) -> None:
    """Leave something of everything that a store can hold."""
    await hand.run(make_job("done"))
    await stored(broker, make_job("waiting", key="k"), make_job("elsewhere", queue="mail"))
    await broker.set_limit("k", 3)
    await broker.set_queue_limit("mail", 9)
    await broker.pause("mail", paused=True)
    await broker.put_document("note", b"{}", 0)


async def holds_nothing(broker: Broker) -> bool:
    """Tell whether a store is as if it had never been used."""
    return (
        not (await broker.stats()).queues
        and not await broker.sessions()
        and not await broker.limits()
        and not await broker.documents("")
        and not (await broker.find(Filter())).records
    )
