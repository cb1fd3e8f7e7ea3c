"""A removal drops a final record, and its id is remembered for a while."""

from __future__ import annotations

from treadle.broker.base import Applied, Conflict, Duplicate, Filter
from treadle.conformance.case import case
from treadle.conformance.clock import HOUR, MINUTE
from treadle.conformance.hand import act, ids, known, make_job, ref, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import Policy
from treadle.domain.outcome import DiscardAsked, Removal, Succeeded
from treadle.domain.state import State

REMEMBERED = Policy(remember_ms=HOUR)


@case("C381", "a removed record is only remembered")
async def a_removed_record_is_only_remembered(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a", policy=REMEMBERED))

    await hand.end(record, DiscardAsked())

    found = await known(broker, record.job)
    assert found.forgotten
    assert (found.head.state, found.head.fence) == (State.SUCCEEDED, record.head.fence)
    assert (found.result, found.history) == (None, ())


@case("C382", "a removed record is listed and counted no longer")
async def a_removed_record_is_listed_and_counted_no_longer(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await hand.end(await hand.run(make_job(policy=REMEMBERED)), DiscardAsked())

    assert (await broker.find(Filter())).records == ()
    assert [queue.succeeded for queue in (await broker.stats()).queues] == [0]


@case("C383", "a removed record is not dropped a second time")
async def a_removed_record_is_not_dropped_a_second_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=Policy(retention_ms=lab.tick_ms, remember_ms=0))
    await hand.end(await hand.run(job), DiscardAsked())
    await stored(broker, job)
    await lab.elapse(2 * lab.tick_ms)

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["a"]


@case("C384", "the id of a removed record is taken while it is remembered")
async def the_id_of_a_removed_record_is_taken_while_it_is_remembered(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=Policy(remember_ms=2 * lab.tick_ms))
    await hand.end(await hand.run(job), DiscardAsked())
    await lab.almost(2 * lab.tick_ms)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.forgotten


@case("C385", "the id of a removed record is free when it is forgotten")
async def the_id_of_a_removed_record_is_free_when_it_is_forgotten(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=Policy(remember_ms=lab.tick_ms))
    await hand.end(await hand.run(job), DiscardAsked())
    await lab.elapse(lab.tick_ms)

    assert list(await broker.get([ref(job)])) == [None]
    await stored(broker, job)
    assert ids(await hand.claim()) == ["a"]


@case("C386", "a record is remembered from its removal on")
async def a_record_is_remembered_from_its_removal_on(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job(policy=Policy(remember_ms=2 * lab.tick_ms)))
    await lab.elapse(3 * lab.tick_ms)

    await hand.end(record, DiscardAsked())

    assert (await known(broker, record.job)).forgotten


@case("C387", "a record that is not final is not removed")
async def a_record_that_is_not_final_is_not_removed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    jobs = [make_job("running"), make_job("waiting")]
    await stored(broker, *jobs)
    await hand.claim_one()
    fences = [(await known(broker, job)).head.fence for job in jobs]
    removals = [
        Removal(queue=job.queue, id=job.id, fence=fence, remember_ms=MINUTE)
        for job, fence in zip(jobs, fences, strict=True)
    ]

    answer = await broker.apply(removals)

    assert [type(result) for result in answer.results] == [Conflict, Conflict]
    assert (await broker.stats()).queues[0].waiting == 1


@case("C388", "a removal with a stale fence removes nothing")
async def a_removal_with_a_stale_fence_removes_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job())
    fence = record.head.fence - 1
    stale = Removal(queue="default", id=record.job.id, fence=fence, remember_ms=MINUTE)

    (answer,) = (await broker.apply([stale])).results

    assert isinstance(answer, Conflict)
    assert await known(broker, record.job) == record


@case("C389", "removing twice conflicts the second time")
async def removing_twice_conflicts_the_second_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job())

    first = await act(broker, record, DiscardAsked())
    second = await act(broker, record, DiscardAsked())

    assert isinstance(first, Applied)
    assert isinstance(second, Conflict)


@case(
    "C390",
    "a removed id that is not remembered is enqueued again above all its fences",
    promises=(4,),
)
async def a_removed_id_is_enqueued_again_above_all_its_fences(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", policy=Policy(remember_ms=0))
    fences: list[int] = []
    for _ in range(3):
        (first,) = (await broker.enqueue([job])).results
        assert isinstance(first, Applied)
        record = await hand.claim_one()
        ended = await hand.end(record, Succeeded())
        fences += [first.fence, record.head.fence, ended.fence]
        removed = await hand.end(await known(broker, job), DiscardAsked())
        assert removed.fence == ended.fence

    assert fences == sorted(set(fences))
