"""`turn` is `apply` and then `claim` without waiting, in one call."""

from __future__ import annotations

import anyio
import pytest

from tests.contract.clock import MovableClock
from tests.contract.hand import HANDED_BACK, LEASE_MS, Hand, ids, known, make_job, stored, write
from treadle.broker.base import Applied, Broker, Conflict
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State
from treadle.errors import SessionEnded

pytestmark = pytest.mark.anyio


async def test_a_turn_settles_and_claims(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    await stored(broker, *(make_job(name) for name in "abcd"))
    records = await hand.claim(2)
    writes = [write(record, Succeeded(), 0) for record in records]

    turned = await broker.turn(hand.session, writes, ["default"], 10)

    assert [type(result) for result in turned.results] == [Applied, Applied]
    assert ids(turned.records) == ["c", "d"]
    assert turned.now == clock.time_ms()
    assert (await known(broker, records[0].job)).head.state is State.SUCCEEDED


async def test_a_turn_claims_what_it_handed_back(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    turned = await broker.turn(hand.session, [write(record, HANDED_BACK, 0)], ["default"], 10)

    assert ids(turned.records) == ["a"]
    assert turned.records[0].head.fence > record.head.fence


async def test_a_turn_answers_a_stale_write_with_what_stands(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await hand.end(record, HANDED_BACK)

    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 0)

    (answer,) = turned.results
    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert answer.record.head.state is State.WAITING


async def test_a_turn_may_only_claim_or_only_settle(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("b"))

    (record,) = (await broker.turn(hand.session, [], ["default"], 1)).records
    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 0)

    assert record.job.id == "a"
    assert (len(turned.results), list(turned.records)) == (1, [])


async def test_a_turn_never_waits(broker: Broker, hand: Hand) -> None:
    with anyio.fail_after(10):
        turned = await broker.turn(hand.session, [], ["default"], 10)

    assert list(turned.records) == []


@pytest.mark.promise(4)
@pytest.mark.parametrize("how", ["expired", "closed", "taken"])
async def test_a_turn_of_an_ended_session_settles_and_claims_nothing(
    broker: Broker, clock: MovableClock, how: str
) -> None:
    hand = await Hand.open(broker, lease_ms=LEASE_MS)
    await stored(broker, make_job("a"), make_job("b"))
    record = await hand.claim_one()
    match how:
        case "expired":
            clock.advance(LEASE_MS)
        case "closed":
            await broker.close(hand.session)
        case _:
            await Hand.open(broker)

    with pytest.raises(SessionEnded) as caught:
        await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 10)

    assert caught.value.taken is (how == "taken")
    counts = (await broker.stats()).queues[0]
    assert (counts.succeeded, counts.waiting, counts.running) == (1, 1, 0)
