"""`turn` is `apply` and then `claim` without waiting, in one call."""

from __future__ import annotations

import anyio

from treadle.broker.base import Applied, Conflict
from treadle.conformance.case import case
from treadle.conformance.hand import HANDED_BACK, Hand, ids, known, make_job, stored, write
from treadle.conformance.lab import Lab, raising
from treadle.domain.job import Record
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State
from treadle.errors import SessionEnded


@case("C341", "a turn settles and claims")
async def a_turn_settles_and_claims(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job(name) for name in "abcd"))
    records = await hand.claim(2)
    writes = [write(record, Succeeded(), 0) for record in records]

    turned = await broker.turn(hand.session, writes, ["default"], 10)

    assert [type(result) for result in turned.results] == [Applied, Applied]
    assert ids(turned.records) == ["c", "d"]
    assert lab.close_to(turned.now, await lab.now())
    assert (await known(broker, records[0].job)).head.state is State.SUCCEEDED


@case("C342", "a turn claims what it handed back")
async def a_turn_claims_what_it_handed_back(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    turned = await broker.turn(hand.session, [write(record, HANDED_BACK, 0)], ["default"], 10)

    assert ids(turned.records) == ["a"]
    assert turned.records[0].head.fence > record.head.fence


@case("C343", "a turn answers a stale write with what stands")
async def a_turn_answers_a_stale_write_with_what_stands(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await hand.end(record, HANDED_BACK)

    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 0)

    (answer,) = turned.results
    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert answer.record.head.state is State.WAITING


@case("C344", "a turn may only claim or only settle")
async def a_turn_may_only_claim_or_only_settle(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b"))

    (record,) = (await broker.turn(hand.session, [], ["default"], 1)).records
    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 0)

    assert record.job.id == "a"
    assert (len(turned.results), list(turned.records)) == (1, [])


@case("C345", "a turn never waits")
async def a_turn_never_waits(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    with anyio.fail_after(10):
        turned = await broker.turn(hand.session, [], ["default"], 10)

    assert list(turned.records) == []


@case("C346", "a turn of an expired session settles and claims nothing", promises=(4,))
async def a_turn_of_an_expired_session_settles_and_claims_nothing(lab: Lab) -> None:
    hand = await lab.hand(lease_ms=lab.tick_ms)
    record = await one_of_two(hand)
    await lab.elapse(lab.tick_ms)

    assert not await turn_is_refused(hand, record)


@case("C347", "a turn of a closed session settles and claims nothing", promises=(4,))
async def a_turn_of_a_closed_session_settles_and_claims_nothing(lab: Lab) -> None:
    hand = await lab.hand()
    record = await one_of_two(hand)
    await lab.broker.close(hand.session)

    assert not await turn_is_refused(hand, record)


@case("C348", "a turn of a session whose name was taken settles and claims nothing", promises=(4,))
async def a_turn_of_a_session_whose_name_was_taken_settles_and_claims_nothing(lab: Lab) -> None:
    hand = await lab.hand()
    record = await one_of_two(hand)
    await lab.hand()

    assert await turn_is_refused(hand, record)


@case("C349", "a turn claims nothing from a paused queue")
async def a_turn_claims_nothing_from_a_paused_queue(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await one_of_two(hand)
    await broker.pause("default", True)

    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 10)

    assert [type(result) for result in turned.results] == [Applied]
    assert list(turned.records) == []


async def one_of_two(hand: Hand) -> Record:
    """Store two jobs and claim the first."""
    await stored(hand.broker, make_job("a"), make_job("b"))
    return await hand.claim_one()


async def turn_is_refused(hand: Hand, record: Record) -> bool:
    """Settle and claim, insist that only the first was done; tell whether the name was taken."""
    with raising(SessionEnded) as caught:
        await hand.broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 10)

    counts = (await hand.broker.stats()).queues[0]
    assert (counts.succeeded, counts.waiting, counts.running) == (1, 1, 0)
    return caught.error.taken
