"""Concurrency keys: a job whose key is full is put aside in the step that would claim it."""

from __future__ import annotations

import pytest

from tests.contract.clock import MINUTE, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    Hand,
    act,
    ids,
    known,
    look_around,
    make_job,
    stored,
    write,
)
from treadle.broker.base import Broker
from treadle.domain.outcome import CancelAsked, LookedAt, Lost, Succeeded
from treadle.domain.state import State

pytestmark = pytest.mark.anyio


async def free_whoever_waits(broker: Broker, clock: MovableClock) -> None:
    """Let the time pass after which every blocked job has been looked at."""
    clock.advance(MINUTE)
    for record in (await broker.overdue(100)).records:
        if record.head.state is State.BLOCKED:
            await act(broker, record, LookedAt())


async def test_a_job_whose_key_is_full_is_blocked_on_it(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)

    assert ids(await hand.claim()) == ["a"]

    head = (await known(broker, job)).head
    assert (head.state, head.blocked_on) == (State.BLOCKED, "smtp")
    assert (head.attempt, head.fence) == (0, 2)


async def test_the_search_goes_on_behind_a_blocked_job(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"), make_job("free"))

    assert ids(await hand.claim(2)) == ["a", "free"]


async def test_as_many_as_allowed_run_at_a_time(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 2)
    await stored(broker, *(make_job(key="smtp") for _ in range(5)))

    first = await hand.claim()
    await hand.end(first[0], Succeeded())
    second = await hand.claim()

    assert (len(first), len(second)) == (2, 1)
    assert (await broker.stats()).queues[0].running == 2


async def test_a_freed_slot_lets_the_first_waiter_in(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"))
    order: list[str] = []

    for _ in range(3):
        record = await hand.claim_one()
        order.append(record.job.id)
        await hand.claim()
        await hand.end(record, Succeeded())

    assert order == ["a", "b", "c"]


async def test_a_waiter_that_was_let_in_is_waiting_again(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)
    (record,) = await hand.claim()

    await hand.end(record, Succeeded())

    head = (await known(broker, job)).head
    assert (head.state, head.blocked_on, head.fence) == (State.WAITING, "", 3)


async def test_a_turn_frees_the_slot_before_it_claims(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "ab"))
    (record,) = await hand.claim()

    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 10)

    assert ids(turned.records) == ["b"]


async def test_a_slot_is_freed_by_handing_back(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"))
    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert ids(await hand.claim()) == ["a"]


async def test_a_slot_is_freed_when_its_holder_is_lost(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    dead = await Hand.open(broker, "dead")
    record = await dead.claim_one()
    await broker.close(dead.session)
    await act(broker, record, Lost())

    (first,) = await hand.claim()
    await hand.end(first, Succeeded())
    (second,) = await hand.claim()

    assert sorted(ids([first, second])) == ["a", "b"]


async def test_a_conflict_frees_no_slot(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"))
    (record,) = await hand.claim()
    await hand.end(record, Succeeded())
    await hand.claim()

    await act(broker, record, Succeeded())

    assert await hand.claim() == []


async def test_a_key_counts_over_all_queues(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp", queue="mail"))

    assert ids(await hand.claim(queues=["default", "mail"])) == ["a"]


async def test_keys_do_not_hinder_each_other(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await broker.set_limit("http", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="http"))

    assert ids(await hand.claim()) == ["a", "b"]


async def test_a_key_without_a_limit_hinders_nobody(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job(key="smtp") for _ in range(5)))

    assert len(await hand.claim()) == 5


async def test_what_ran_before_the_limit_was_set_counts(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    await hand.claim_one()

    await broker.set_limit("smtp", 1)

    assert await hand.claim() == []


async def test_lifting_a_limit_lets_everybody_in(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await broker.set_limit("smtp", 0)
    await stored(broker, *(make_job(key="smtp") for _ in range(3)))
    assert await hand.claim() == []

    await broker.set_limit("smtp", None)
    await free_whoever_waits(broker, clock)

    assert len(await hand.claim()) == 3


async def test_raising_a_limit_lets_more_in(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(key="smtp") for _ in range(4)))
    assert len(await hand.claim()) == 1

    await broker.set_limit("smtp", 3)
    await free_whoever_waits(broker, clock)

    assert len(await hand.claim()) == 2


async def test_a_waiter_that_was_cancelled_does_not_use_up_the_slot(
    broker: Broker, hand: Hand
) -> None:
    await broker.set_limit("smtp", 1)
    first = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), first, make_job("c", key="smtp"))
    (record,) = await hand.claim()
    await hand.end(await known(broker, first), CancelAsked())

    await hand.end(record, Succeeded())

    assert ids(await hand.claim()) == ["c"]


async def test_a_slot_that_its_waiter_cannot_use_goes_to_the_next_in_time(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await broker.set_limit("smtp", 1)
    await stored(
        broker,
        make_job("first", key="smtp"),
        make_job("stuck", key="smtp", queue="paused"),
        make_job("next", key="smtp"),
    )
    record = await hand.claim_one()
    await hand.claim(queues=["paused", "default"])  # blocks both, the stuck one first
    await broker.pause("paused", True)
    await hand.end(record, Succeeded())

    await free_whoever_waits(broker, clock)

    assert ids(await hand.claim(queues=["paused", "default"])) == ["next"]


async def test_a_waiter_that_was_let_in_stands_among_the_others(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    record = await hand.claim_one()
    await hand.claim()
    await stored(broker, make_job("later"))

    await hand.end(record, Succeeded())

    assert sorted(ids(await hand.claim())) == ["b", "later"]


async def test_nobody_is_overdue_because_of_a_full_key_at_first(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    await hand.claim()

    assert await look_around(broker) == 0
