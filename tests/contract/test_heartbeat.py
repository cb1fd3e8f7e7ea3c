"""`heartbeat` renews the lease of a session, and says what it holds, lost, and shall cancel."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.contract.clock import DAY, MINUTE, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    LEASE_MS,
    Hand,
    act,
    ids,
    known,
    lease,
    make_job,
    stored,
)
from treadle.broker.base import Broker, Lease
from treadle.domain.outcome import CancelAsked, Lost, Succeeded
from treadle.errors import SessionEnded

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hand(broker: Broker) -> Hand:
    """Return a session with the usual lease."""
    return await Hand.open(broker, lease_ms=LEASE_MS)


async def test_what_is_held_is_quietly_kept(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert (pulse.lost, pulse.orphans, pulse.cancels) == ((), (), ())
    assert pulse.now == clock.time_ms()
    assert await known(broker, record.job) == record


@pytest.mark.promise(6)
async def test_beats_keep_a_job_for_as_long_as_they_come(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    for _ in range(5):
        clock.advance(LEASE_MS - 1)
        await broker.heartbeat(hand.session, [lease(record)])

    assert (await broker.overdue(10)).records == ()
    await hand.end(record, Succeeded())


async def test_a_lease_ends_one_lease_after_the_last_beat(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()
    clock.advance(LEASE_MS - 1)
    await broker.heartbeat(hand.session, [])

    clock.advance(LEASE_MS - 1)
    assert (await broker.overdue(10)).records == ()
    clock.advance(1)
    assert ids((await broker.overdue(10)).records) == ["a"]


async def test_a_lease_that_another_session_took_is_lost(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    clock.advance(LEASE_MS)
    await act(broker, record, Lost())
    taken = await (await Hand.open(broker, "other")).claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)
    assert (await known(broker, record.job)).head == taken.head


async def test_a_lease_that_was_settled_is_lost(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, Succeeded())

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)


async def test_a_lease_of_an_earlier_attempt_is_lost(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(old), lease(new)])

    assert pulse.lost == (lease(old),)
    assert pulse.orphans == ()


async def test_a_lease_of_an_unknown_job_is_lost(broker: Broker, hand: Hand) -> None:
    nobody = Lease("default", "nobody", 2)

    pulse = await broker.heartbeat(hand.session, [nobody])

    assert pulse.lost == (nobody,)


async def test_a_lease_of_another_session_is_lost(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await (await Hand.open(broker, "other")).claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)


async def test_what_the_session_holds_without_knowing_is_an_orphan(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("known"), make_job("orphan"))
    known_one, orphan = await hand.claim()

    pulse = await broker.heartbeat(hand.session, [lease(known_one)])

    assert [lease(record) for record in pulse.orphans] == [lease(orphan)]
    assert pulse.lost == ()


async def test_an_orphan_can_be_handed_back(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()
    (orphan,) = (await broker.heartbeat(hand.session, [])).orphans

    await hand.end(orphan, HANDED_BACK)

    assert ids(await hand.claim()) == ["a"]


async def test_jobs_that_shall_be_cancelled_are_named(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("b"))
    first, second = await hand.claim()
    await act(broker, first, CancelAsked())

    pulse = await broker.heartbeat(hand.session, [lease(first), lease(second)])

    assert pulse.cancels == (lease(first),)
    assert pulse.lost == ()


async def test_an_expired_session_is_renewed_with_what_nobody_decided(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"), make_job("b"))
    decided, kept = await hand.claim()
    clock.advance(LEASE_MS + MINUTE)
    await act(broker, decided, Lost())

    pulse = await broker.heartbeat(hand.session, [lease(decided), lease(kept)])

    assert pulse.lost == (lease(decided),)
    assert (await broker.overdue(10)).records == ()
    await hand.end(kept, Succeeded())
    assert ids(await hand.claim()) == ["a"]


async def test_beating_twice_is_harmless(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    first = await broker.heartbeat(hand.session, [lease(record)])
    second = await broker.heartbeat(hand.session, [lease(record)])

    assert first == second


async def test_a_closed_session_is_not_renewed(broker: Broker, hand: Hand) -> None:
    await broker.close(hand.session)

    with pytest.raises(SessionEnded) as caught:
        await broker.heartbeat(hand.session, [])

    assert not caught.value.taken


async def test_a_session_whose_name_was_taken_is_not_renewed(broker: Broker, hand: Hand) -> None:
    await Hand.open(broker)

    with pytest.raises(SessionEnded) as caught:
        await broker.heartbeat(hand.session, [])

    assert caught.value.taken


async def test_an_unknown_session_is_not_renewed(broker: Broker) -> None:
    with pytest.raises(SessionEnded):
        await broker.heartbeat("nobody", [])


@pytest.mark.promise(11)
async def test_a_clock_that_is_set_back_extends_no_lease_beyond_one(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()
    clock.jump(-DAY)

    assert (await broker.overdue(10)).records == ()
    clock.advance(LEASE_MS)
    assert ids((await broker.overdue(10)).records) == ["a"]


@pytest.mark.promise(11)
async def test_a_session_outlives_a_clock_that_is_set_forward(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    clock.jump(DAY)

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == ()
    await hand.end(record, Succeeded())


async def test_the_fence_of_a_lease_counts_not_only_its_job(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    wrong = structs.replace(lease(record), fence=record.head.fence + 1)

    pulse = await broker.heartbeat(hand.session, [wrong])

    assert pulse.lost == (wrong,)
    assert [lease(orphan) for orphan in pulse.orphans] == [lease(record)]
