"""`apply` writes what was decided if the fence matches, and answers the rest with what stands."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.contract.clock import DAY, HOUR, MINUTE, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    Hand,
    act,
    change,
    ids,
    known,
    make_job,
    reschedule,
    stored,
    write,
)
from treadle.broker.base import Applied, Broker, Conflict
from treadle.domain.job import KEEP, After, At, ErrorInfo, Policy, Priority, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import (
    CancelAsked,
    CancelRequest,
    Failed,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
)
from treadle.domain.retry import Fixed
from treadle.domain.state import State

pytestmark = pytest.mark.anyio

DONE = Succeeded(result=b'{"sent":true}', ran_ms=12)
BROKEN = Failed(error=ErrorInfo(type="ValueError", message="no", traceback="line 1"), ran_ms=3)


async def test_a_success_ends_the_job_with_its_result(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job(policy=Policy(retention_ms=HOUR)))
    record = await hand.claim_one()
    clock.advance(12)

    applied = await hand.end(record, DONE)

    found = await known(broker, record.job)
    head = found.head
    assert (head.state, found.result) == (State.SUCCEEDED, b'{"sent":true}')
    assert (head.finished, head.due) == (clock.time_ms(), clock.time_ms() + HOUR)
    assert applied.fence == head.fence == record.head.fence + 1
    assert not applied.children


async def test_a_finished_job_remembers_who_ran_it(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    await hand.end(record, DONE)

    head = (await known(broker, record.job)).head
    assert (head.session, head.claimed) == (hand.session, record.head.claimed)
    assert head.attempt == 1


async def test_a_change_appends_its_history_row(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = change(record, BROKEN, record.head.claimed)

    await broker.apply([decided])

    assert (await known(broker, record.job)).history == (decided.history,)


async def test_every_number_of_a_change_is_stored(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = structs.replace(
        change(record, Snoozed(due=After(MINUTE)), clock.time_ms()),
        attempt=3,
        deaths=2,
        stalls=4,
        parked=clock.time_ms(),
        delay_ms=5,
        reason="unknown_type",
    )

    await broker.apply([decided])

    head = (await known(broker, record.job)).head
    assert (head.attempt, head.deaths, head.stalls, head.delay_ms) == (3, 2, 4, 5)
    assert (head.parked, head.reason) == (clock.time_ms(), "unknown_type")
    assert (head.state, head.due, head.finished) == (State.WAITING, clock.time_ms() + MINUTE, 0)


async def test_a_failed_job_is_claimed_again_after_its_delay(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job(policy=Policy(retry=Fixed(delay_ms=MINUTE))))
    await hand.end(await hand.claim_one(), BROKEN)

    assert await hand.claim() == []
    clock.advance(MINUTE)
    assert (await hand.claim_one()).head.attempt == 2


async def test_an_instant_in_a_change_is_kept(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job()
    await stored(broker, job)

    await reschedule(broker, job, clock.time_ms() + DAY)

    assert (await known(broker, job)).head.due == clock.time_ms() + DAY


async def test_a_change_can_leave_the_time_index(broker: Broker, clock: MovableClock) -> None:
    job = make_job(due=After(HOUR))
    await stored(broker, job)
    before = await known(broker, job)
    clock.advance(MINUTE)
    decided = change(before, RescheduleAsked(due=At(0)), clock.time_ms())

    await broker.apply([structs.replace(decided, due=KEEP)])

    assert (await known(broker, job)).head.due == before.head.due


@pytest.mark.promise(4)
async def test_a_change_with_a_stale_fence_changes_nothing(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    answer = await act(broker, old, DONE)

    assert isinstance(answer, Conflict)
    assert await known(broker, new.job) == answer.record
    assert (await known(broker, new.job)).head == new.head


@pytest.mark.promise(4)
async def test_a_job_becomes_final_once(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, DONE)

    answer = await act(broker, record, BROKEN)

    assert isinstance(answer, Conflict)
    assert (await known(broker, record.job)).head.state is State.SUCCEEDED


async def test_a_writer_whose_reply_was_lost_finds_its_own_row(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    decided = change(record, DONE, record.head.claimed)
    await broker.apply([decided])

    (answer,) = (await broker.apply([decided])).results

    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert [row.fence for row in answer.record.history] == [record.head.fence]


async def test_a_change_of_an_unknown_job_conflicts_with_nothing(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job())
    decided = change(await hand.claim_one(), DONE, 0)

    (answer,) = (await broker.apply([structs.replace(decided, id="nobody")])).results

    assert answer == Conflict(record=None)


async def test_each_change_of_a_call_stands_for_itself(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job() for _ in range(3)))
    records = await hand.claim()
    first, stale, last = (change(record, DONE, 0) for record in records)
    stale = structs.replace(stale, fence=99)

    answer = await broker.apply([first, stale, last])

    assert [type(result) for result in answer.results] == [Applied, Conflict, Applied]
    states = [(await known(broker, record.job)).head.state for record in records]
    assert states == [State.SUCCEEDED, State.RUNNING, State.SUCCEEDED]


async def test_applying_nothing_tells_broker_time(broker: Broker, clock: MovableClock) -> None:
    settled = await broker.apply([])

    assert (settled.now, list(settled.results)) == (clock.time_ms(), [])


async def test_history_keeps_the_newest_rows(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job(policy=Policy(max_attempts=50, retry=Fixed(delay_ms=0))))
    for _ in range(HISTORY_ROWS + 3):
        await hand.end(await hand.claim_one(), BROKEN)

    (record,) = await broker.get([Ref("", (await hand.claim_one()).job.id)])

    assert record is not None
    assert [row.attempt for row in record.history] == list(range(4, HISTORY_ROWS + 4))


async def test_a_cancel_request_sets_the_flag_and_leaves_the_fence(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    answer = await act(broker, record, CancelAsked())

    head = (await known(broker, record.job)).head
    assert head == structs.replace(record.head, cancel=True)
    assert answer == Applied(fence=record.head.fence)


async def test_asking_twice_to_cancel_is_harmless(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    await act(broker, record, CancelAsked())
    answer = await act(broker, record, CancelAsked())

    assert isinstance(answer, Applied)


async def test_a_cancel_request_for_a_job_that_does_not_run_conflicts(broker: Broker) -> None:
    job = make_job()
    await stored(broker, job)

    (answer,) = (await broker.apply([CancelRequest(queue=job.queue, id=job.id, fence=1)])).results

    assert isinstance(answer, Conflict)
    assert not (await known(broker, job)).head.cancel


async def test_a_cancel_request_for_an_earlier_attempt_conflicts(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    answer = await act(broker, old, CancelAsked())

    assert isinstance(answer, Conflict)
    assert not (await known(broker, new.job)).head.cancel


async def test_a_change_that_is_not_final_meets_a_standing_cancel_request(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await act(broker, record, CancelAsked())

    answer = await act(broker, record, BROKEN)

    assert isinstance(answer, Conflict)
    assert answer.record is not None
    assert answer.record.head.cancel
    assert (await known(broker, record.job)).head.state is State.RUNNING


async def test_a_final_change_passes_a_standing_cancel_request(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await act(broker, record, CancelAsked())

    await hand.end(record, DONE)

    head = (await known(broker, record.job)).head
    assert (head.state, head.cancel) == (State.SUCCEEDED, False)


async def test_a_waiting_job_is_cancelled_at_once(broker: Broker, hand: Hand) -> None:
    job = make_job()
    await stored(broker, job)

    await hand.end(await known(broker, job), CancelAsked(by="ada"))

    found = await known(broker, job)
    assert (found.head.state, found.head.reason) == (State.CANCELLED, "cancelled")
    assert [row.by for row in found.history] == ["ada"]


async def test_a_waiting_job_gets_a_new_body(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", payload=b'{"n":1}')
    await stored(broker, job, make_job("b"))
    newer = make_job("a", payload=b'{"n":2}', priority=Priority.LOW, type="test.other")

    await reschedule(broker, job, clock.time_ms(), newer)

    first, second = await hand.claim()
    assert ids([first, second]) == ["b", "a"]
    assert second.job == newer


async def test_a_new_run_clears_the_counters_and_keeps_the_history(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    record = await hand.run(make_job(expires=After(DAY)), DONE)
    clock.advance(MINUTE)

    await hand.end(record, RetryAsked(by="ada"))

    found = await known(broker, record.job)
    head = found.head
    assert (head.state, head.attempt, head.expires, head.finished) == (State.WAITING, 0, 0, 0)
    assert (head.due, found.result) == (clock.time_ms(), None)
    assert [row.event for row in found.history] == ["succeed", "retry"]
    assert (await hand.claim_one()).head.attempt == 1


async def test_a_fence_is_never_given_twice(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    fences = [1]
    record = await hand.claim_one()
    fences.append(record.head.fence)
    fences.append((await hand.end(record, DONE)).fence)
    fences.append((await hand.end(await known(broker, record.job), RetryAsked())).fence)
    fences.append((await hand.claim_one()).head.fence)

    assert fences == sorted(set(fences))


async def test_follow_ups_are_stored_with_their_parent(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    follow_ups = (make_job("a/1"), make_job("a/2", queue="mail", due=After(HOUR)))

    await hand.end(record, Succeeded(follow_ups=follow_ups))

    assert (await hand.claim_one()).job == follow_ups[0]
    assert (await known(broker, follow_ups[1])).head.state is State.WAITING


@pytest.mark.promise(1)
async def test_a_follow_up_exists_only_if_the_change_of_its_parent_was_applied(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a"))
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)

    answer = await act(broker, old, Succeeded(follow_ups=(make_job("a/1"),)))

    assert isinstance(answer, Conflict)
    assert list(await broker.get([Ref("default", "a/1")])) == [None]


async def test_a_follow_up_whose_id_exists_is_left(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await stored(broker, make_job("a/1", payload=b'{"n":1}'))

    await hand.end(record, Succeeded(follow_ups=(make_job("a/1", payload=b'{"n":2}'),)))

    assert (await known(broker, Ref("default", "a/1"))).job.payload == b'{"n":1}'


async def test_a_job_that_is_settled_is_held_no_longer(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())

    await hand.end(await hand.claim_one(), DONE)

    assert (await broker.heartbeat(hand.session, [])).orphans == ()


async def test_a_decision_made_on_the_reply_of_a_claim_needs_no_other_read(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    (answer,) = (await broker.apply([write(record, DONE, record.head.claimed)])).results

    assert isinstance(answer, Applied)
