"""`apply` writes what was decided if the fence matches, and answers the rest with what stands."""

from __future__ import annotations

import anyio
from msgspec import structs

from treadle.broker.base import Applied, Conflict
from treadle.conformance.case import case
from treadle.conformance.clock import DAY, HOUR
from treadle.conformance.hand import (
    HANDED_BACK,
    act,
    change,
    known,
    make_job,
    reschedule,
    stored,
    write,
)
from treadle.conformance.lab import Lab
from treadle.domain.job import KEEP, After, At, ErrorInfo, Policy, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import (
    Failed,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
    Write,
)
from treadle.domain.retry import Fixed
from treadle.domain.state import State

DONE = Succeeded(result=b'{"sent":true}', ran_ms=12)
BROKEN = Failed(error=ErrorInfo(type="ValueError", message="no", traceback="line 1"), ran_ms=3)


@case("C301", "a success ends the job with its result")
async def a_success_ends_the_job_with_its_result(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(policy=Policy(retention_ms=lab.far_ms)))
    record = await hand.claim_one()

    applied = await hand.end(record, DONE)

    found = await known(broker, record.job)
    head = found.head
    assert (head.state, found.result) == (State.SUCCEEDED, b'{"sent":true}')
    assert lab.close_to(head.finished, await lab.now())
    assert head.due == head.finished + lab.far_ms
    assert applied.fence == head.fence == record.head.fence + 1
    assert not applied.children


@case("C302", "a finished job remembers who ran it")
async def a_finished_job_remembers_who_ran_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    await hand.end(record, DONE)

    head = (await known(broker, record.job)).head
    assert (head.session, head.claimed) == (hand.session, record.head.claimed)
    assert head.attempt == 1


@case("C303", "a change appends its history row")
async def a_change_appends_its_history_row(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = change(record, BROKEN, record.head.claimed)

    await broker.apply([decided])

    assert (await known(broker, record.job)).history == (decided.history,)


@case("C304", "every number of a change is stored")
async def every_number_of_a_change_is_stored(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = structs.replace(
        change(record, Snoozed(due=After(HOUR)), record.head.claimed),
        attempt=3,
        deaths=2,
        stalls=4,
        parked=record.head.claimed,
        delay_ms=5,
        reason="unknown_type",
    )

    await broker.apply([decided])

    head = (await known(broker, record.job)).head
    assert (head.attempt, head.deaths, head.stalls, head.delay_ms) == (3, 2, 4, 5)
    assert (head.parked, head.reason) == (record.head.claimed, "unknown_type")
    assert (head.state, head.finished) == (State.WAITING, 0)
    assert lab.close_to(head.due, await lab.now() + HOUR)


@case("C305", "a failed job is claimed again after its delay")
async def a_failed_job_is_claimed_again_after_its_delay(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(policy=Policy(retry=Fixed(delay_ms=lab.tick_ms))))
    await hand.end(await hand.claim_one(), BROKEN)

    assert await hand.claim() == []
    await lab.elapse(lab.tick_ms)
    assert (await hand.claim_one()).head.attempt == 2


@case("C306", "an instant in a change is kept")
async def an_instant_in_a_change_is_kept(lab: Lab) -> None:
    broker = lab.broker
    job = make_job()
    await stored(broker, job)

    instant = await lab.now() + DAY

    await reschedule(broker, job, instant)

    assert (await known(broker, job)).head.due == instant


@case("C307", "a change can leave the time index")
async def a_change_can_leave_the_time_index(lab: Lab) -> None:
    broker = lab.broker
    job = make_job(due=After(HOUR))
    await stored(broker, job)
    before = await known(broker, job)
    await lab.elapse(lab.tick_ms)
    decided = change(before, RescheduleAsked(due=At(0)), await lab.now())

    await broker.apply([structs.replace(decided, due=KEEP)])

    assert (await known(broker, job)).head.due == before.head.due


@case("C308", "a change with a stale fence changes nothing", promises=(4,))
async def a_change_with_a_stale_fence_changes_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    answer = await act(broker, old, DONE)

    assert isinstance(answer, Conflict)
    assert await known(broker, new.job) == answer.record
    assert (await known(broker, new.job)).head == new.head


@case("C309", "a job becomes final once", promises=(4,))
async def a_job_becomes_final_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, DONE)

    answer = await act(broker, record, BROKEN)

    assert isinstance(answer, Conflict)
    assert (await known(broker, record.job)).head.state is State.SUCCEEDED


@case("C310", "a writer whose reply was lost finds its own row")
async def a_writer_whose_reply_was_lost_finds_its_own_row(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = change(record, DONE, record.head.claimed)
    await broker.apply([decided])

    (answer,) = (await broker.apply([decided])).results

    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert [row.fence for row in answer.record.history] == [record.head.fence]


@case("C311", "a change of an unknown job conflicts with nothing")
async def a_change_of_an_unknown_job_conflicts_with_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    decided = change(await hand.claim_one(), DONE, 0)

    (answer,) = (await broker.apply([structs.replace(decided, id="nobody")])).results

    assert answer == Conflict(record=None)


@case("C312", "each change of a call stands for itself")
async def each_change_of_a_call_stands_for_itself(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job() for _ in range(3)))
    records = await hand.claim()
    first, stale, last = (change(record, DONE, 0) for record in records)
    stale = structs.replace(stale, fence=stale.fence + 97)

    answer = await broker.apply([first, stale, last])

    assert [type(result) for result in answer.results] == [Applied, Conflict, Applied]
    states = [(await known(broker, record.job)).head.state for record in records]
    assert states == [State.SUCCEEDED, State.RUNNING, State.SUCCEEDED]


@case("C313", "applying nothing tells broker time")
async def applying_nothing_tells_broker_time(lab: Lab) -> None:
    broker = lab.broker
    settled = await broker.apply([])

    assert lab.close_to(settled.now, await lab.now())
    assert list(settled.results) == []


@case("C314", "history keeps the newest rows")
async def history_keeps_the_newest_rows(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(policy=Policy(max_attempts=50, retry=Fixed(delay_ms=0))))
    for _ in range(HISTORY_ROWS + 3):
        await hand.end(await hand.claim_one(), BROKEN)

    (record,) = await broker.get([Ref("", (await hand.claim_one()).job.id)])

    assert record is not None
    assert [row.attempt for row in record.history] == list(range(4, HISTORY_ROWS + 4))


@case("C324", "a fence is never given twice")
async def a_fence_is_never_given_twice(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job()
    await stored(broker, job)
    fences = [(await known(broker, job)).head.fence]
    record = await hand.claim_one()
    fences.append(record.head.fence)
    fences.append((await hand.end(record, DONE)).fence)
    fences.append((await hand.end(await known(broker, record.job), RetryAsked())).fence)
    fences.append((await hand.claim_one()).head.fence)

    assert fences == sorted(set(fences))


@case("C328", "a job that is settled is held no longer")
async def a_job_that_is_settled_is_held_no_longer(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    await hand.end(await hand.claim_one(), DONE)

    assert (await broker.heartbeat(hand.session, [])).orphans == ()


@case("C329", "a decision made on the reply of a claim needs no other read")
async def a_decision_made_on_the_reply_of_a_claim_needs_no_other_read(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    (answer,) = (await broker.apply([write(record, DONE, record.head.claimed)])).results

    assert isinstance(answer, Applied)


@case("C332", "a job that was handed back has used up no attempt")
async def a_job_that_was_handed_back_has_used_up_no_attempt(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert (await hand.claim_one()).head.attempt == 1


@case("C333", "of changes at the same time one is applied", promises=(4,))
async def of_changes_at_the_same_time_one_is_applied(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = [write(record, outcome, record.head.claimed) for outcome in (DONE, BROKEN, DONE)]
    answers: list[object] = []

    async def apply(one: Write) -> None:
        answers.extend((await broker.apply([one])).results)

    async with anyio.create_task_group() as group:
        for one in decided:
            group.start_soon(apply, one)

    assert sorted(type(answer).__name__ for answer in answers) == ["Applied", *["Conflict"] * 2]
    assert len((await known(broker, record.job)).history) == 1
