"""`purge` drops what is past its retention, and remembers ids for a while."""

from __future__ import annotations

from treadle.broker.base import Applied, Conflict, Duplicate, Filter, Notes, Progress
from treadle.conformance.case import case
from treadle.conformance.hand import act, ids, known, lease, make_job, ref, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import ErrorInfo, Policy
from treadle.domain.outcome import CancelAsked, CancelRequest, Failed, RetryAsked, Succeeded
from treadle.domain.state import State

GIVEN_UP = Failed(error=ErrorInfo(type="ValueError"), give_up=True)


def short(lab: Lab) -> Policy:
    """Return a policy that keeps a record for a tick, a dead letter for three, an id for five."""
    tick = lab.tick_ms
    return Policy(retention_ms=tick, dead_retention_ms=3 * tick, remember_ms=5 * tick)


@case("C701", "a final record is dropped after its retention")
async def a_final_record_is_dropped_after_its_retention(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job(policy=short(lab)))
    await lab.almost(lab.tick_ms)

    assert await broker.purge(10) == 0
    assert await known(broker, record.job) == record
    await lab.rest(lab.tick_ms)
    assert await broker.purge(10) == 1
    assert await broker.purge(10) == 0


@case("C702", "a cancelled record is kept as long as a succeeded one")
async def a_cancelled_record_is_kept_as_long_as_a_succeeded_one(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=short(lab))
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    await lab.elapse(lab.tick_ms)

    assert await broker.purge(10) == 1


@case("C703", "a dead letter has a retention of its own")
async def a_dead_letter_has_a_retention_of_its_own(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await hand.run(make_job(policy=short(lab)), GIVEN_UP)
    await lab.almost(3 * lab.tick_ms)

    assert await broker.purge(10) == 0
    await lab.rest(3 * lab.tick_ms)
    assert await broker.purge(10) == 1


@case("C704", "without a retention a record is kept for ever")
async def without_a_retention_a_record_is_kept_for_ever(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job(policy=Policy(retention_ms=None)))
    await lab.long_while()

    assert await broker.purge(10) == 0
    assert await known(broker, record.job) == record


@case("C705", "at most limit records are dropped")
async def at_most_limit_records_are_dropped(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for _ in range(5):
        await hand.run(make_job(policy=short(lab)))
    await lab.elapse(lab.tick_ms)

    assert [await broker.purge(2) for _ in range(4)] == [2, 2, 1, 0]


@case("C706", "what is not final is never dropped")
async def what_is_not_final_is_never_dropped(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", policy=short(lab)), make_job("b", policy=short(lab)))
    await hand.claim_one()
    await lab.long_while()

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["b"]


@case("C707", "a job that was run again is not dropped")
async def a_job_that_was_run_again_is_not_dropped(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a", policy=short(lab)))
    await hand.end(record, RetryAsked())
    await lab.elapse(lab.tick_ms)

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["a"]


@case("C708", "nothing of a dropped record is left but its memory", promises=(12,))
async def nothing_of_a_dropped_record_is_left_but_its_memory(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(policy=short(lab)))
    record = await hand.claim_one()
    await broker.note(hand.session, [Progress(lease=lease(record), data=b"1")])
    await hand.end(record, Succeeded(result=b"1"))
    await lab.elapse(lab.tick_ms)
    await broker.purge(10)

    found = await known(broker, record.job)
    assert found.forgotten
    assert (found.head.state, found.head.fence) == (State.SUCCEEDED, record.head.fence + 1)
    assert (found.result, found.history, found.job.policy) == (None, (), Policy())
    assert await broker.notes(ref(record.job)) == Notes()
    assert (await broker.find(Filter())).records == ()
    assert [queue.succeeded for queue in (await broker.stats()).queues] == [0]


@case("C709", "a dropped id is remembered until its time is over", promises=(3,))
async def a_dropped_id_is_remembered_until_its_time_is_over(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=short(lab))
    await hand.run(job)
    await lab.elapse(lab.tick_ms)
    await broker.purge(10)
    await lab.almost(4 * lab.tick_ms)

    (answer,) = (await broker.enqueue([job])).results
    assert isinstance(answer, Duplicate)
    assert answer.record.forgotten
    await lab.rest(4 * lab.tick_ms)
    await stored(broker, job)
    assert ids(await hand.claim()) == ["a"]


@case("C710", "an id whose time was over before its retention is not remembered")
async def an_id_whose_time_was_over_before_its_retention_is_not_remembered(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=Policy(retention_ms=2 * lab.tick_ms, remember_ms=lab.tick_ms))
    await hand.run(job)
    await lab.elapse(2 * lab.tick_ms)
    await broker.purge(10)

    assert list(await broker.get([ref(job)])) == [None]


@case("C711", "an id is taken as long as its record is there")
async def an_id_is_taken_as_long_as_its_record_is_there(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=Policy(retention_ms=2 * lab.tick_ms, remember_ms=lab.tick_ms))
    await hand.run(job)
    await lab.elapse(3 * lab.tick_ms)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert not answer.record.forgotten


@case("C712", "a forgotten id begins anew")
async def a_forgotten_id_begins_anew(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=short(lab))
    await hand.run(job)
    await lab.elapse(5 * lab.tick_ms)
    await broker.purge(10)
    await stored(broker, job)

    record = await hand.claim_one()

    assert record.head.attempt == 1
    assert lab.close_to(record.created, await lab.now())
    assert (await known(broker, job)).history == ()


@case(
    "C713",
    "a stale worker of a forgotten life writes nothing into the next one: its fences go on",
    promises=(4,),
)
async def a_stale_worker_of_a_forgotten_life_writes_nothing_into_the_next_one(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=short(lab))
    await stored(broker, job)
    stale = await hand.claim_one()
    ended = await hand.end(stale, Succeeded())
    await lab.elapse(lab.tick_ms)
    await broker.purge(10)
    await lab.elapse(4 * lab.tick_ms)
    await broker.purge(10)
    later = await lab.second()  # what is stored must say it, not what this process remembers

    (answer,) = (await later.enqueue([job])).results

    assert isinstance(answer, Applied)
    assert answer.fence == (await known(later, job)).head.fence > ended.fence
    record = await hand.claim_one()
    (note,) = await broker.note(hand.session, [Progress(lease=lease(stale), data=b"1")])
    request = CancelRequest(queue=job.queue, id=job.id, fence=stale.head.fence)
    (cancel,) = (await broker.apply([request])).results
    late = await act(broker, stale, Succeeded(result=b"1"))
    assert [type(each) for each in (note, cancel, late)] == [Conflict, Conflict, Conflict]
    assert (await known(broker, job)).head == record.head
    assert await broker.notes(ref(job)) == Notes()
