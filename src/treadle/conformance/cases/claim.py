"""`claim` makes due jobs running, in order, never one of them twice."""

from __future__ import annotations

import anyio

from treadle.conformance.case import case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import (
    HANDED_BACK,
    Hand,
    ids,
    known,
    make_job,
    reschedule,
    stored,
)
from treadle.conformance.lab import Lab, raising
from treadle.domain.job import After, At, ErrorInfo, Policy, Priority
from treadle.domain.outcome import CancelAsked, Failed, Snoozed
from treadle.domain.retry import Fixed
from treadle.domain.state import State
from treadle.errors import SessionEnded


@case("C201", "a claimed job runs for the session")
async def a_claimed_job_runs_for_the_session(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job()
    await stored(broker, job)

    record = await hand.claim_one()

    head = record.head
    assert record.job == job
    assert (head.state, head.attempt, head.fence) == (State.RUNNING, 1, 2)
    assert head.session == hand.session
    assert lab.close_to(head.claimed, await lab.now())


@case("C202", "what was claimed is what is stored")
async def what_was_claimed_is_what_is_stored(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    record = await hand.claim_one()

    found = await known(broker, record.job)
    assert (found.job, found.head) == (record.job, record.head)


@case("C203", "a claimed job is not claimed again")
async def a_claimed_job_is_not_claimed_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    await hand.claim_one()

    assert await hand.claim() == []
    assert await (await lab.hand("other")).claim() == []


@case("C204", "each claim counts an attempt and moves the fence")
async def each_claim_counts_an_attempt_and_moves_the_fence(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=Policy(retry=Fixed(delay_ms=0)))
    await stored(broker, job)
    waiting = await known(broker, job)
    first = await hand.claim_one()
    failed = await hand.end(first, Failed(error=ErrorInfo(type="ValueError")))

    second = await hand.claim_one()

    assert (first.head.attempt, second.head.attempt) == (1, 2)
    assert first.head.fence == waiting.head.fence + 1
    assert second.head.fence == failed.fence + 1


@case("C205", "each job of a claim keeps its own counters")
async def each_job_of_a_claim_keeps_its_own_counters(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", policy=Policy(retry=Fixed(delay_ms=0))))
    await hand.end(await hand.claim_one(), Failed(error=ErrorInfo(type="ValueError")))
    others = [make_job("b"), make_job("c", expires=After(HOUR))]
    await stored(broker, *others)
    waiting = {job.id: (await known(broker, job)).head for job in others}

    claimed = {record.job.id: record.head for record in await hand.claim()}

    assert {name: head.attempt for name, head in claimed.items()} == {"a": 2, "b": 1, "c": 1}
    assert [bool(claimed[name].expires) for name in "abc"] == [False, False, True]
    assert all(claimed[name].fence == waiting[name].fence + 1 for name in "bc")


@case("C206", "at most limit jobs are claimed")
async def at_most_limit_jobs_are_claimed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job() for _ in range(5)))

    assert len(await hand.claim(3)) == 3
    assert len(await hand.claim(3)) == 2
    assert len(await hand.claim(3)) == 0


@case("C207", "a claim of nothing gives nothing")
async def a_claim_of_nothing_gives_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    assert await hand.claim(0) == []
    assert await hand.claim(1, []) == []
    assert await hand.claim(1, ["unheard-of"]) == []


@case("C208", "jobs of one call are claimed as enqueued")
async def jobs_of_one_call_are_claimed_as_enqueued(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    jobs = [make_job() for _ in range(50)]
    await stored(broker, *jobs)

    assert ids(await hand.claim(20)) + ids(await hand.claim(30)) == [job.id for job in jobs]


@case("C209", "queues go as listed whatever the priority")
async def queues_go_as_listed_whatever_the_priority(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(
        broker,
        make_job("low-in-first", queue="first", priority=Priority.LOW),
        make_job("critical-in-second", queue="second", priority=Priority.CRITICAL),
    )

    claimed = await hand.claim(queues=["first", "second"])

    assert ids(claimed) == ["low-in-first", "critical-in-second"]


@case("C210", "a queue that is not listed is left alone")
async def a_queue_that_is_not_listed_is_left_alone(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", queue="mine"), make_job("b", queue="others"))

    assert ids(await hand.claim(queues=["mine"])) == ["a"]


@case("C211", "priority is strict inside a queue")
async def priority_is_strict_inside_a_queue(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job(priority.name, priority=priority) for priority in Priority))
    await stored(broker, make_job("CRITICAL-again", priority=Priority.CRITICAL))

    claimed = await hand.claim()

    assert ids(claimed) == ["CRITICAL", "CRITICAL-again", "HIGH", "MEDIUM", "LOW"]


@case("C212", "delayed jobs go by due time")
async def delayed_jobs_go_by_due_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    step = lab.tick_ms // 50
    await stored(
        broker,
        make_job("late", due=After(30 * step)),
        make_job("early", due=After(10 * step)),
        make_job("middle", due=After(20 * step)),
    )
    await lab.elapse(lab.tick_ms)

    assert ids(await hand.claim()) == ["early", "middle", "late"]


@case("C213", "a delayed job goes before what came after it was due")
async def a_delayed_job_goes_before_what_came_after_it_was_due(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("delayed", due=After(lab.tick_ms)))
    await lab.elapse(2 * lab.tick_ms)
    await stored(broker, make_job("fresh"))

    assert ids(await hand.claim()) == ["delayed", "fresh"]


@case("C214", "a job that is long overdue goes before what came earlier")
async def a_job_that_is_long_overdue_goes_before_what_came_earlier(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    now = await lab.now()
    await stored(broker, make_job("a"), make_job("b", due=At(now - HOUR)))
    await stored(broker, make_job("c", due=At(now - 2 * HOUR)), make_job("d"))

    assert ids(await hand.claim(3)) == ["c", "b", "a"]
    assert ids(await hand.claim(3)) == ["d"]


@case("C215", "a job is claimed when it is due and not before")
async def a_job_is_claimed_when_it_is_due_and_not_before(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", due=After(2 * lab.tick_ms)), make_job("b", due=At(0)))

    assert ids(await hand.claim()) == ["b"]
    await lab.almost(2 * lab.tick_ms)
    assert await hand.claim() == []
    await lab.rest(2 * lab.tick_ms)
    assert ids(await hand.claim()) == ["a"]


@case("C216", "a snoozed job is claimed when it is due again")
async def a_snoozed_job_is_claimed_when_it_is_due_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, Snoozed(due=After(lab.tick_ms)))

    assert await hand.claim() == []
    await lab.elapse(lab.tick_ms)
    assert (await hand.claim_one()).head.attempt == 1


@case("C217", "a job that was moved back is not claimed at its old place")
async def a_job_that_was_moved_back_is_not_claimed_at_its_old_place(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job()
    await stored(broker, job)
    await reschedule(broker, job, await lab.now() + lab.tick_ms)

    assert await hand.claim() == []
    await lab.elapse(lab.tick_ms)
    assert ids(await hand.claim()) == [job.id]


@case("C218", "a job that was moved forward is claimed once")
async def a_job_that_was_moved_forward_is_claimed_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(due=After(lab.tick_ms))
    await stored(broker, job)
    await reschedule(broker, job, await lab.now())

    assert ids(await hand.claim()) == [job.id]
    await lab.elapse(lab.tick_ms)
    assert await hand.claim() == []


@case("C219", "a cancelled job is not claimed")
async def a_cancelled_job_is_not_claimed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job()
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    assert await hand.claim() == []


@case("C220", "the instant of expiry travels to whoever claims")
async def the_instant_of_expiry_travels_to_whoever_claims(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(expires=After(HOUR)))

    record = await hand.claim_one()

    assert lab.close_to(record.head.expires, await lab.now() + HOUR)


@case("C221", "a claim tells broker time", promises=(11,))
async def a_claim_tells_broker_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await lab.elapse(lab.tick_ms)

    claimed = await broker.claim(hand.session, ["default"], 1)

    assert lab.close_to(claimed.now, await lab.now())


@case("C222", "a paused queue gives nothing until it is resumed")
async def a_paused_queue_gives_nothing_until_it_is_resumed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b", queue="mail"))
    await broker.pause("default", True)

    assert ids(await hand.claim(queues=["default", "mail"])) == ["b"]
    await broker.pause("default", False)
    assert ids(await hand.claim()) == ["a"]


@case("C223", "a pause leaves running jobs alone")
async def a_pause_leaves_running_jobs_alone(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    await broker.pause("default", True)

    await hand.end(record, HANDED_BACK)
    assert await hand.claim() == []


@case("C224", "a queue can be paused before its first job")
async def a_queue_can_be_paused_before_its_first_job(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.pause("default", True)
    await stored(broker, make_job())

    assert await hand.claim() == []


@case("C225", "an expired session claims nothing", promises=(4,))
async def an_expired_session_claims_nothing(lab: Lab) -> None:
    broker = lab.broker
    hand = await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job("a"))
    await lab.elapse(lab.tick_ms)

    with raising(SessionEnded):
        await hand.claim()

    assert ids(await (await lab.hand("other")).claim()) == ["a"]


@case("C226", "a closed session claims nothing")
async def a_closed_session_claims_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.close(hand.session)

    with raising(SessionEnded) as caught:
        await hand.claim()

    assert not caught.error.taken


@case("C227", "a session whose name was taken claims nothing")
async def a_session_whose_name_was_taken_claims_nothing(lab: Lab) -> None:
    hand = await lab.hand()
    await lab.hand()

    with raising(SessionEnded) as caught:
        await hand.claim()

    assert caught.error.taken


@case("C228", "an unknown session claims nothing")
async def an_unknown_session_claims_nothing(lab: Lab) -> None:
    broker = lab.broker
    with raising(SessionEnded):
        await broker.claim("nobody", ["default"], 1)


@case("C229", "claims at the same time share the jobs")
async def claims_at_the_same_time_share_the_jobs(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, *(make_job() for _ in range(100)))
    hands = [await lab.hand(f"worker-{number}") for number in range(5)]
    claimed: list[str] = []

    async def claim(hand: Hand) -> None:
        while records := await hand.claim(7):
            claimed.extend(ids(records))

    async with anyio.create_task_group() as group:
        for hand in hands:
            group.start_soon(claim, hand)

    assert len(claimed) == len(set(claimed)) == 100


@case("C230", "queues go as listed whatever their names")
async def queues_go_as_listed_whatever_their_names(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for name in ("one", "two"):
        await stored(broker, make_job(f"{name}/a", queue="a"), make_job(f"{name}/b", queue="b"))

    assert ids(await hand.claim(1, ["b", "a"])) == ["one/b"]
    assert ids(await hand.claim(1, ["a", "b"])) == ["one/a"]


@case("C231", "a delayed job that was moved back is not claimed at its old time")
async def a_delayed_job_that_was_moved_back_is_not_claimed_at_its_old_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(due=After(lab.tick_ms))
    await stored(broker, job)
    await reschedule(broker, job, await lab.now() + lab.far_ms)
    await lab.elapse(lab.tick_ms)

    assert await hand.claim() == []
