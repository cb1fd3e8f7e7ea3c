"""Concurrency keys: a job whose key is full is put aside in the step that would claim it."""

from __future__ import annotations

from treadle.conformance.case import Level, case
from treadle.conformance.clock import HOUR, SECOND
from treadle.conformance.hand import (
    HANDED_BACK,
    act,
    ids,
    known,
    look_around,
    make_job,
    stored,
    write,
)
from treadle.conformance.lab import Lab
from treadle.domain.head import next_look_ms
from treadle.domain.job import At
from treadle.domain.outcome import CancelAsked, LookedAt, Lost, Succeeded
from treadle.domain.state import State

LOOK_MS = next_look_ms(0)
"""A job that has met a full key once is looked at after this time."""


async def free_whoever_waits(lab: Lab) -> None:
    """Let the time pass after which every blocked job has been looked at."""
    await lab.elapse(max(lab.tick_ms, 2 * LOOK_MS))
    for record in (await lab.broker.overdue(100)).records:
        if record.head.state is State.BLOCKED:
            await act(lab.broker, record, LookedAt())


@case("C261", "a job whose key is full is blocked on it", level=Level.FLOW)
async def a_job_whose_key_is_full_is_blocked_on_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)
    before = (await known(broker, job)).head

    assert ids(await hand.claim()) == ["a"]

    head = (await known(broker, job)).head
    assert (head.state, head.blocked_on) == (State.BLOCKED, "smtp")
    assert (head.attempt, head.fence) == (0, before.fence + 1)


@case("C262", "the search goes on behind a blocked job", level=Level.FLOW)
async def the_search_goes_on_behind_a_blocked_job(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"), make_job("free"))

    assert ids(await hand.claim(2)) == ["a", "free"]


@case("C263", "as many as allowed run at a time", level=Level.FLOW)
async def as_many_as_allowed_run_at_a_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 2)
    await stored(broker, *(make_job(key="smtp") for _ in range(5)))

    first = await hand.claim()
    await hand.end(first[0], Succeeded())
    second = await hand.claim()

    assert (len(first), len(second)) == (2, 1)
    assert (await broker.stats()).queues[0].running == 2


@case("C264", "a freed slot lets the first waiter in", level=Level.FLOW)
async def a_freed_slot_lets_the_first_waiter_in(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"))
    order: list[str] = []

    for _ in range(3):
        record = await hand.claim_one()
        order.append(record.job.id)
        await hand.claim()
        await hand.end(record, Succeeded())

    assert order == ["a", "b", "c"]


@case("C265", "a waiter that was let in is waiting again", level=Level.FLOW)
async def a_waiter_that_was_let_in_is_waiting_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)
    (record,) = await hand.claim()
    before = (await known(broker, job)).head

    await hand.end(record, Succeeded())

    head = (await known(broker, job)).head
    assert (head.state, head.blocked_on, head.fence) == (State.WAITING, "", before.fence + 1)


@case("C266", "a turn frees the slot before it claims", level=Level.FLOW)
async def a_turn_frees_the_slot_before_it_claims(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "ab"))
    (record,) = await hand.claim()

    turned = await broker.turn(hand.session, [write(record, Succeeded(), 0)], ["default"], 10)

    assert ids(turned.records) == ["b"]


@case("C267", "a slot is freed by handing back", level=Level.FLOW)
async def a_slot_is_freed_by_handing_back(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"))
    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert ids(await hand.claim()) == ["a"]


@case("C268", "a slot is freed when its holder is lost", level=Level.FLOW)
async def a_slot_is_freed_when_its_holder_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    dead = await lab.hand("dead")
    record = await dead.claim_one()
    await broker.close(dead.session)
    await act(broker, record, Lost())

    (first,) = await hand.claim()
    await hand.end(first, Succeeded())
    (second,) = await hand.claim()

    assert sorted(ids([first, second])) == ["a", "b"]


@case("C269", "a conflict frees no slot", level=Level.FLOW)
async def a_conflict_frees_no_slot(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(name, key="smtp") for name in "abc"))
    (record,) = await hand.claim()
    await hand.end(record, Succeeded())
    await hand.claim()

    await act(broker, record, Succeeded())

    assert await hand.claim() == []


@case("C270", "a key counts over all queues", level=Level.FLOW)
async def a_key_counts_over_all_queues(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp", queue="mail"))

    assert ids(await hand.claim(queues=["default", "mail"])) == ["a"]


@case("C271", "keys do not hinder each other", level=Level.FLOW)
async def keys_do_not_hinder_each_other(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await broker.set_limit("http", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="http"))

    assert ids(await hand.claim()) == ["a", "b"]


@case("C272", "a key without a limit hinders nobody", level=Level.FLOW)
async def a_key_without_a_limit_hinders_nobody(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job(key="smtp") for _ in range(5)))

    assert len(await hand.claim()) == 5


@case("C273", "what ran before the limit was set counts", level=Level.FLOW)
async def what_ran_before_the_limit_was_set_counts(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    await hand.claim_one()

    await broker.set_limit("smtp", 1)

    assert await hand.claim() == []


@case("C274", "lifting a limit lets everybody in", level=Level.FLOW)
async def lifting_a_limit_lets_everybody_in(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 0)
    await stored(broker, *(make_job(key="smtp") for _ in range(3)))
    assert await hand.claim() == []

    await broker.set_limit("smtp", None)
    await free_whoever_waits(lab)

    assert len(await hand.claim()) == 3


@case("C275", "raising a limit lets more in", level=Level.FLOW)
async def raising_a_limit_lets_more_in(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, *(make_job(key="smtp") for _ in range(4)))
    assert len(await hand.claim()) == 1

    await broker.set_limit("smtp", 3)
    await free_whoever_waits(lab)

    assert len(await hand.claim()) == 2


@case("C276", "a waiter that was cancelled does not use up the slot", level=Level.FLOW)
async def a_waiter_that_was_cancelled_does_not_use_up_the_slot(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    first = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), first, make_job("c", key="smtp"))
    (record,) = await hand.claim()
    await hand.end(await known(broker, first), CancelAsked())

    await hand.end(record, Succeeded())

    assert ids(await hand.claim()) == ["c"]


@case("C277", "a slot that its waiter cannot use goes to the next in time", level=Level.FLOW)
async def a_slot_that_its_waiter_cannot_use_goes_to_the_next_in_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
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

    await free_whoever_waits(lab)

    assert ids(await hand.claim(queues=["paused", "default"])) == ["next"]


@case("C278", "a waiter that was let in stands among the others", level=Level.FLOW)
async def a_waiter_that_was_let_in_stands_among_the_others(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    record = await hand.claim_one()
    await hand.claim()
    await stored(broker, make_job("later"))

    await hand.end(record, Succeeded())

    assert sorted(ids(await hand.claim())) == ["b", "later"]


@case("C279", "nobody is overdue because of a full key at first", level=Level.FLOW)
async def nobody_is_overdue_because_of_a_full_key_at_first(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    await hand.claim()

    assert await look_around(broker) == 0


@case(
    "C280",
    "looks at a key that is full again come after one second doubling to sixty",
    level=Level.FLOW,
)
async def looks_at_a_full_key_come_after_one_second_doubling_to_sixty(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("waiter", key="smtp")
    await broker.set_limit("smtp", 0)
    await stored(broker, job)

    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        assert await hand.claim() == []
        due = (await known(broker, job)).head.due
        assert lab.close_to(due, await lab.now() + seconds * SECOND)
        await act(broker, await known(broker, job), LookedAt())


@case("C281", "a freed slot lets a waiter in that was looked at often", level=Level.FLOW)
async def a_freed_slot_lets_a_waiter_in_that_was_looked_at_often(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)
    record = await hand.claim_one()
    for _ in range(5):
        assert await hand.claim() == []
        await act(broker, await known(broker, job), LookedAt())
    assert await hand.claim() == []

    await hand.end(record, Succeeded())

    assert ids(await hand.claim()) == ["b"]


@case("C282", "a job that was let in does not hide one that is due longer", level=Level.FLOW)
async def a_job_that_was_let_in_does_not_hide_one_that_is_due_longer(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job(key="smtp"), make_job(key="smtp"))
    (running,) = await hand.claim()
    earlier = await lab.now() - HOUR
    await stored(broker, make_job(), make_job(due=At(earlier)))
    await lab.elapse(lab.tick_ms)

    await hand.end(running, Succeeded())

    (queue,) = (await broker.stats()).queues
    assert queue.oldest_due == earlier


@case("C283", "a freed slot lets one job in and no more", level=Level.FLOW)
async def a_freed_slot_lets_one_job_in_and_no_more(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 2)
    await stored(broker, *(make_job(name, key="smtp") for name in "abcde"))
    first, _ = await hand.claim()

    await hand.end(first, Succeeded())

    assert ids(await hand.claim()) == ["c"]
    await stored(broker, make_job("f", key="smtp"))
    assert await hand.claim() == []


@case(
    "C284",
    "who waits for a key is let in in the order of coming, however long until the next look",
    level=Level.FLOW,
)
async def who_waits_for_a_key_is_let_in_in_the_order_of_coming(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    first = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), first)
    (running,) = await hand.claim()
    for _ in range(3):  # each look puts the next one off for longer
        await act(broker, await known(broker, first), LookedAt())
        assert await hand.claim() == []
    await stored(broker, make_job("c", key="smtp"))
    assert await hand.claim() == []

    await hand.end(running, Succeeded())

    assert ids(await hand.claim()) == ["b"]
