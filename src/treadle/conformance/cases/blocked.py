"""Jobs that wait for other jobs: edges, looks, and what the end of a parent does."""

from __future__ import annotations

from msgspec import structs

from treadle.conformance.case import Level, case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import (
    HANDED_BACK,
    act,
    change,
    ids,
    known,
    look_around,
    make_job,
    ref,
    stored,
)
from treadle.conformance.lab import Lab
from treadle.domain.head import next_look_ms
from treadle.domain.job import After, ErrorInfo, Policy, Ref
from treadle.domain.outcome import CancelAsked, DiscardAsked, Failed, LookedAt, Succeeded
from treadle.domain.state import State

A, B = Ref("default", "a"), Ref("default", "b")
LOOK_MS = next_look_ms(0)
"""A blocked job is looked at again after this time."""
GIVEN_UP = Failed(error=ErrorInfo(type="ValueError"), give_up=True)


@case("C351", "a job after another is stored blocked", level=Level.FLOW)
async def a_job_after_another_is_stored_blocked(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))

    child = await known(broker, Ref("default", "child"))

    assert (child.head.state, child.edges) == (State.BLOCKED, (A,))
    assert ids(await hand.claim()) == ["a"]


@case("C352", "the end of a parent makes its children due for a look", level=Level.FLOW)
async def the_end_of_a_parent_makes_its_children_due_for_a_look(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await look_around(broker)
    parent = await hand.claim_one()
    assert (await broker.overdue(10)).records == ()

    applied = await hand.end(parent, Succeeded())

    assert applied.children
    (child,) = (await broker.overdue(10)).records
    assert (child.job.id, child.edges) == ("child", (A,))


@case("C353", "a job runs after its parent succeeded", level=Level.FLOW)
async def a_job_runs_after_its_parent_succeeded(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await hand.end(await hand.claim_one(), Succeeded())

    await look_around(broker)

    child = await hand.claim_one()
    assert (child.job.id, child.head.attempt) == ("child", 1)
    assert (await known(broker, child.job)).edges == ()


@case("C354", "a parent that waits again frees nobody", level=Level.FLOW)
async def a_parent_that_waits_again_frees_nobody(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await look_around(broker)

    applied = await hand.end(await hand.claim_one(), HANDED_BACK)

    assert not applied.children
    assert (await broker.overdue(10)).records == ()


@case("C355", "a job whose parents are final already is looked at at once", level=Level.FLOW)
async def a_job_whose_parents_are_final_already_is_looked_at_at_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await hand.run(make_job("a"))

    await stored(broker, make_job("child", after=(A,)))

    assert ids((await broker.overdue(10)).records) == ["child"]
    await look_around(broker)
    assert ids(await hand.claim()) == ["child"]


@case("C356", "a job with two parents waits for both", level=Level.FLOW)
async def a_job_with_two_parents_waits_for_both(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
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


@case("C357", "every child of a parent is looked at", level=Level.FLOW)
async def every_child_of_a_parent_is_looked_at(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    children = [make_job(f"child-{n}", after=(A,), queue="mail") for n in range(5)]
    await stored(broker, make_job("a"), *children)
    await hand.end(await hand.claim_one(), Succeeded())

    assert await look_around(broker) == 5
    assert ids(await hand.claim(queues=["mail"])) == [child.id for child in children]


@case("C358", "a blocked job is looked at again when it is due", level=Level.FLOW)
async def a_blocked_job_is_looked_at_again_when_it_is_due(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    assert await look_around(broker) == 1
    head = (await known(broker, Ref("default", "child"))).head
    assert head.state is State.BLOCKED
    assert lab.close_to(head.due, await lab.now() + LOOK_MS)

    await lab.almost(LOOK_MS)
    assert (await broker.overdue(10)).records == ()
    await lab.rest(LOOK_MS)
    assert ids((await broker.overdue(10)).records) == ["child"]


@case("C359", "a parent that ended during a look is not missed", level=Level.FLOW)
async def a_parent_that_ended_during_a_look_is_not_missed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    parent = await hand.claim_one()
    seen = LookedAt(parents=((A, State.RUNNING),))
    looked = change(await known(broker, child), seen, parent.head.claimed)

    await hand.end(parent, Succeeded())
    await broker.apply([looked])

    assert ids((await broker.overdue(10)).records) == ["child"]


@case("C360", "a child of a dead parent is cancelled with it", level=Level.FLOW)
async def a_child_of_a_dead_parent_is_cancelled_with_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await hand.end(await hand.claim_one(), GIVEN_UP)

    await look_around(broker)

    head = (await known(broker, Ref("default", "child"))).head
    assert (head.state, head.reason) == (State.CANCELLED, "parent")


@case("C370", "a child of a cancelled parent is cancelled with it", level=Level.FLOW)
async def a_child_of_a_cancelled_parent_is_cancelled_with_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,)))
    await hand.end(await known(broker, A), CancelAsked())

    await look_around(broker)

    head = (await known(broker, Ref("default", "child"))).head
    assert (head.state, head.reason) == (State.CANCELLED, "parent")


@case("C361", "a child may run whatever became of its parent", level=Level.FLOW)
async def a_child_may_run_whatever_became_of_its_parent(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,), run_anyway=True))
    await hand.end(await hand.claim_one(), GIVEN_UP)

    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


@case("C362", "the end of a child reaches its own children", level=Level.FLOW)
async def the_end_of_a_child_reaches_its_own_children(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b", after=(A,)), make_job("c", after=(B,)))
    await hand.end(await hand.claim_one(), GIVEN_UP)

    rounds = [await look_around(broker) for _ in range(3)]

    assert rounds[-1] == 0
    assert [(await known(broker, Ref("default", name))).head.state for name in "bc"] == [
        State.CANCELLED,
        State.CANCELLED,
    ]


@case("C363", "a parent in another queue is found", level=Level.FLOW)
async def a_parent_in_another_queue_is_found(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    parent = make_job("p", queue="mail")
    await stored(broker, parent, make_job("child", after=(ref(parent),)))
    await hand.end(await hand.claim_one("mail"), Succeeded())

    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


@case("C364", "a remembered parent is not unknown", level=Level.FLOW)
async def a_remembered_parent_is_not_unknown(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a", policy=Policy(remember_ms=HOUR)))
    await hand.end(record, DiscardAsked())

    await stored(broker, make_job("child", after=(A,)))
    await look_around(broker)

    assert ids(await hand.claim()) == ["child"]


@case("C365", "the delay of a blocked job counts from the look that frees it", level=Level.FLOW)
async def the_delay_of_a_blocked_job_counts_from_the_look_that_frees_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", after=(A,), due=After(lab.tick_ms)))
    await lab.elapse(3 * lab.tick_ms)
    await hand.end(await hand.claim_one(), Succeeded())
    await look_around(broker)

    assert await hand.claim() == []
    await lab.elapse(lab.tick_ms)
    assert ids(await hand.claim()) == ["child"]


@case("C366", "a blocked job that was cancelled is not looked at", level=Level.FLOW)
async def a_blocked_job_that_was_cancelled_is_not_looked_at(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    await hand.end(await known(broker, child), CancelAsked())

    applied = await hand.end(await hand.claim_one(), Succeeded())

    assert not applied.children
    assert (await broker.overdue(10)).records == ()


@case("C367", "a follow up may wait for its parent", level=Level.FLOW)
async def a_follow_up_may_wait_for_its_parent(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    parent = await hand.claim_one()

    await hand.end(parent, Succeeded(follow_ups=(make_job("a/1", after=(A,)),)))
    await look_around(broker)

    assert ids(await hand.claim()) == ["a/1"]


@case("C368", "a look with a stale fence changes nothing", level=Level.FLOW)
async def a_look_with_a_stale_fence_changes_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    child = make_job("child", after=(A,))
    await stored(broker, make_job("a"), child)
    before = await known(broker, child)
    await hand.end(before, CancelAsked())

    await act(broker, before, LookedAt(parents=((A, State.SUCCEEDED),)))

    assert (await known(broker, child)).head.state is State.CANCELLED
    assert ids(await hand.claim()) == ["a"]


@case("C369", "blocked records come with policy and without payload", level=Level.FLOW)
async def blocked_records_come_with_policy_and_without_payload(lab: Lab) -> None:
    broker = lab.broker
    child = make_job("child", after=(A,), payload=b'{"large":1}', policy=Policy(max_attempts=9))
    await stored(broker, make_job("a"), child)

    (record,) = (await broker.overdue(10)).records

    assert b"large" not in record.job.payload
    assert structs.replace(record.job, payload=child.payload) == child


@case("C371", "the end of a parent reaches its children in other queues", level=Level.FLOW)
async def the_end_of_a_parent_reaches_its_children_in_other_queues(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("child", queue="mail", after=(A,)))
    await look_around(broker)
    parent = await hand.claim_one()
    assert (await broker.overdue(10)).records == ()

    await hand.end(parent, Succeeded())

    assert ids((await broker.overdue(10)).records) == ["child"]
