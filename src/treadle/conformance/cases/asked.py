"""What people ask of a job is written like everything else: to cancel it, to run it again, to change it."""

from __future__ import annotations

from msgspec import structs

from treadle.broker.base import Applied, Conflict
from treadle.conformance.case import case
from treadle.conformance.clock import DAY, HOUR
from treadle.conformance.hand import HANDED_BACK, act, ids, known, make_job, reschedule, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import After, ErrorInfo, Priority
from treadle.domain.outcome import (
    CancelAsked,
    CancelRequest,
    Failed,
    RescheduleAsked,
    RetryAsked,
    Succeeded,
)
from treadle.domain.state import State

DONE = Succeeded(result=b'{"sent":true}', ran_ms=12)
BROKEN = Failed(error=ErrorInfo(type="ValueError", message="no", traceback="line 1"), ran_ms=3)


@case("C315", "a cancel request sets the flag and leaves the fence")
async def a_cancel_request_sets_the_flag_and_leaves_the_fence(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    answer = await act(broker, record, CancelAsked())

    head = (await known(broker, record.job)).head
    assert head == structs.replace(record.head, cancel=True)
    assert answer == Applied(fence=record.head.fence)


@case("C316", "asking twice to cancel is harmless")
async def asking_twice_to_cancel_is_harmless(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    await act(broker, record, CancelAsked())
    answer = await act(broker, record, CancelAsked())

    assert isinstance(answer, Applied)


@case("C317", "a cancel request for a job that does not run conflicts")
async def a_cancel_request_for_a_job_that_does_not_run_conflicts(lab: Lab) -> None:
    broker = lab.broker
    job = make_job()
    await stored(broker, job)

    fence = (await known(broker, job)).head.fence
    request = CancelRequest(queue=job.queue, id=job.id, fence=fence)

    (answer,) = (await broker.apply([request])).results

    assert isinstance(answer, Conflict)
    assert not (await known(broker, job)).head.cancel


@case("C318", "a cancel request for an earlier attempt conflicts")
async def a_cancel_request_for_an_earlier_attempt_conflicts(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    answer = await act(broker, old, CancelAsked())

    assert isinstance(answer, Conflict)
    assert not (await known(broker, new.job)).head.cancel


@case("C319", "a change that is not final meets a standing cancel request")
async def a_change_that_is_not_final_meets_a_standing_cancel_request(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await act(broker, record, CancelAsked())

    answer = await act(broker, record, BROKEN)

    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert answer.record.head.cancel
    assert (await known(broker, record.job)).head.state is State.RUNNING


@case("C320", "a final change passes a standing cancel request")
async def a_final_change_passes_a_standing_cancel_request(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await act(broker, record, CancelAsked())

    await hand.end(record, DONE)

    head = (await known(broker, record.job)).head
    assert (head.state, head.cancel) == (State.SUCCEEDED, False)


@case("C321", "a waiting job is cancelled at once")
async def a_waiting_job_is_cancelled_at_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job()
    await stored(broker, job)

    await hand.end(await known(broker, job), CancelAsked(by="ada"))

    found = await known(broker, job)
    assert (found.head.state, found.head.reason) == (State.CANCELLED, "cancelled")
    assert [row.by for row in found.history] == ["ada"]


@case("C322", "a waiting job gets a new body")
async def a_waiting_job_gets_a_new_body(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", payload=b'{"n":1}')
    await stored(broker, job, make_job("b"))
    newer = make_job("a", payload=b'{"n":2}', priority=Priority.LOW, type="test.other")

    await reschedule(broker, job, await lab.now(), newer)

    first, second = await hand.claim()
    assert ids([first, second]) == ["b", "a"]
    assert second.job == newer


@case("C323", "a new run clears the counters and keeps the history")
async def a_new_run_clears_the_counters_and_keeps_the_history(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job(expires=After(DAY)), DONE)
    await lab.elapse(lab.tick_ms)

    await hand.end(record, RetryAsked(by="ada"))

    found = await known(broker, record.job)
    head = found.head
    assert (head.state, head.attempt, head.expires, head.finished) == (State.WAITING, 0, 0, 0)
    assert lab.close_to(head.due, await lab.now())
    assert head.due > record.head.finished
    assert found.result is None
    assert [row.event for row in found.history] == ["succeed", "retry"]
    assert (await hand.claim_one()).head.attempt == 1


@case("C331", "a new body brings its own expiry")
async def a_new_body_brings_its_own_expiry(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    old = make_job("a", expires=After(DAY), due=After(HOUR))
    await stored(broker, old)
    body = make_job("a", expires=After(2 * DAY))

    answer = await act(broker, await known(broker, old), RescheduleAsked(due=After(0), job=body))

    assert isinstance(answer, Applied)
    (claimed,) = await hand.claim()
    assert lab.close_to(claimed.head.expires, await lab.now() + 2 * DAY)
