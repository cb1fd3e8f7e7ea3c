"""Jobs that wait for other jobs: edges, looks, and what the end of a parent does."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.contract.clock import HOUR, MINUTE, SECOND, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    Hand,
    act,
    change,
    ids,
    known,
    look_around,
    make_job,
    ref,
    stored,
)
from treadle.broker.base import Broker
from treadle.domain.job import After, ErrorInfo, Policy, Ref
from treadle.domain.outcome import CancelAsked, DiscardAsked, Failed, LookedAt, Succeeded
from treadle.domain.state import State

pytestmark = pytest.mark.anyio

A, B = Ref("default", "a"), Ref("default", "b")
GIVEN_UP = Failed(error=ErrorInfo(type="ValueError"), give_up=True)


async def test_a_job_after_another_is_stored_blocked(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))

    child = await known(broker, Ref("default", "child"))

    assert (child.head.state, child.edges) == (State.BLOCKED, (A,))
    assert ids(await hand.claim()) == ["a"]


async def test_the_end_of_a_parent_makes_its_children_due_for_a_look(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await look_around(broker)
    parent = await hand.claim_one()
    assert (await broker.overdue(10)).records == ()

    applied = await hand.end(parent, Succeeded())

    assert applied.children
    (child,) = (await broker.overdue(10)).records
    assert (child.job.id, child.edges) == ("child", (A,))


async def test_a_job_runs_after_its_parent_succeeded(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await hand.end(await hand.claim_one(), Succeeded())

    await look_around(broker)

    child = await hand.claim_one()
    assert (child.job.id, child.head.attempt) == ("child", 1)
    assert (await known(broker, child.job)).edges == ()


async def test_a_parent_that_waits_again_frees_nobody(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await look_around(broker)

    applied = await hand.end(await hand.claim_one(), HANDED_BACK)

    assert not applied.children
    assert (await broker.overdue(10)).records == ()


async def test_a_job_whose_parents_are_final_already_is_looked_at_at_once(
    broker: Broker, hand: Hand
) -> None:
    await hand.run(make_job("a"))

    await stored(broker, make_job("child", after=(A,)))

    assert ids((await broker.overdue(10)).records) == ["child"]
    await look_around(broker)
    assert ids(await hand.claim()) == ["child"]


async def test_a_job_with_two_parents_waits_for_both(broker: Broker, hand: Hand) -> None:
    child = make_job("child", after=(A, B))
    await stored(broker, make_job("a"), make_job("b"), child)
    first, second = await hand.claim()

    await hand.end(first, Succeeded())
    await look_around(broker)
    assert (await known(broker, child)).edges == (B,)
    assert await hand.claim() == []
    await hand.end(second, Succeeded())
    await look_around(broker)
    assert ids(await hand.claim()) == ["child"]


async def test_every_child_of_a_parent_is_looked_at(broker: Broker, hand: Hand) -> None:
    children = [make_job(f"child-{n}", after=(A,), queue="mail") for n in range(5)]
    await stored(broker, make_job("a"), *children)
    await hand.end(await hand.claim_one(), Succeeded())

    assert await look_around(broker) == 5
    assert ids(await hand.claim(queues=["mail"])) == [child.id for child in children]


async def test_a_blocked_job_is_looked_at_again_when_it_is_due(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    assert await look_around(broker) == 1
    head = (await known(broker, Ref("default", "child"))).head
    assert (head.state, head.due) == (State.BLOCKED, clock.time_ms() + SECOND)

    clock.advance(SECOND - 1)
    assert (await broker.overdue(10)).records == ()
    clock.advance(1)
    assert ids((await broker.overdue(10)).records) == ["child"]


async def test_a_parent_that_ended_during_a_look_is_not_missed(broker: Broker, hand: Hand) -> None:
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    parent = await hand.claim_one()
    seen = LookedAt(parents=((A, State.RUNNING),))
    looked = change(await known(broker, child), seen, parent.head.claimed)

    await hand.end(parent, Succeeded())
    await broker.apply([looked])

    assert ids((await broker.overdue(10)).records) == ["child"]


@pytest.mark.parametrize("end", [GIVEN_UP, CancelAsked()], ids=["dead", "cancelled"])
async def test_a_child_of_a_failed_parent_is_cancelled_with_it(
    broker: Broker, hand: Hand, end: Failed | CancelAsked
) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await hand.end(await known(broker, A) if end == CancelAsked() else await hand.claim_one(), end)

    await look_around(broker)

    head = (await known(broker, Ref("default", "child"))).head
    assert (head.state, head.reason) == (State.CANCELLED, "parent")


async def test_a_child_may_run_whatever_became_of_its_parent(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,), run_anyway=True))
    await hand.end(await hand.claim_one(), GIVEN_UP)

    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


async def test_the_end_of_a_child_reaches_its_own_children(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("b", after=(A,)), make_job("c", after=(B,)))
    await hand.end(await hand.claim_one(), GIVEN_UP)

    rounds = [await look_around(broker) for _ in range(3)]

    assert rounds[-1] == 0
    assert [(await known(broker, Ref("default", name))).head.state for name in "bc"] == [
        State.CANCELLED,
        State.CANCELLED,
    ]


async def test_a_parent_in_another_queue_is_found(broker: Broker, hand: Hand) -> None:
    parent = make_job("p", queue="mail")
    await stored(broker, parent, make_job("child", after=(ref(parent),)))
    await hand.end(await hand.claim_one("mail"), Succeeded())

    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


async def test_a_remembered_parent_is_not_unknown(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job("a", policy=Policy(remember_ms=HOUR)))
    await hand.end(record, DiscardAsked())

    await stored(broker, make_job("child", after=(A,)))
    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


async def test_the_delay_of_a_blocked_job_counts_from_the_look_that_frees_it(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"), make_job("child", after=(A,), due=After(MINUTE)))
    clock.advance(10 * MINUTE)
    await hand.end(await hand.claim_one(), Succeeded())
    await look_around(broker)

    assert await hand.claim() == []
    clock.advance(MINUTE)
    assert ids(await hand.claim()) == ["child"]


async def test_a_blocked_job_that_was_cancelled_is_not_looked_at(
    broker: Broker, hand: Hand
) -> None:
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    await hand.end(await known(broker, child), CancelAsked())

    applied = await hand.end(await hand.claim_one(), Succeeded())

    assert not applied.children
    assert (await broker.overdue(10)).records == ()


async def test_a_follow_up_may_wait_for_its_parent(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    parent = await hand.claim_one()

    await hand.end(parent, Succeeded(follow_ups=(make_job("a/1", after=(A,)),)))
    await look_around(broker)

    assert ids(await hand.claim()) == ["a/1"]


async def test_a_look_with_a_stale_fence_changes_nothing(broker: Broker, hand: Hand) -> None:
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    before = await known(broker, child)
    await hand.end(before, CancelAsked())

    await act(broker, before, LookedAt(parents=((A, State.SUCCEEDED),)))

    assert (await known(broker, child)).head.state is State.CANCELLED
    assert ids(await hand.claim()) == ["a"]


async def test_blocked_records_come_with_policy_and_without_payload(broker: Broker) -> None:
    child = make_job("child", after=(A,), payload=b'{"large":1}', policy=Policy(max_attempts=9))
    await stored(broker, make_job("a"), child)

    (record,) = (await broker.overdue(10)).records

    assert b"large" not in record.job.payload
    assert structs.replace(record.job, payload=child.payload) == child
