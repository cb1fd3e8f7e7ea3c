"""Cancelling a call never loses a job and never tears one: it happened as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel

from treadle.broker.base import Applied, Conflict, Duplicate
from treadle.conformance.case import case
from treadle.conformance.hand import HANDED_BACK, ids, known, make_job, ref, stored, write
from treadle.conformance.lab import Lab
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State

MOMENTS = range(12)


async def cut_off(call: Callable[[], Awaitable[object]], moment: int) -> None:
    """Begin a call and cancel it after so many turns of the loop."""

    async def run() -> None:
        await call()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@case("C801", "an enqueue that was cut off may be repeated", promises=(1,))
async def an_enqueue_that_was_cut_off_may_be_repeated(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for moment in MOMENTS:
        jobs = [make_job(f"job-{moment}-{number}") for number in range(5)]
        await cut_off(partial(broker.enqueue, jobs), moment)

        answers = (await broker.enqueue(jobs)).results

        assert {type(answer) for answer in answers} <= {Applied, Duplicate}
        assert ids(await hand.claim()) == [job.id for job in jobs]


@case("C802", "what a claim took that was cut off is an orphan", promises=(1,))
async def what_a_claim_took_that_was_cut_off_is_an_orphan(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    names = {f"job-{number}" for number in range(10)}
    await stored(broker, *(make_job(name) for name in sorted(names)))

    for moment in MOMENTS:
        await cut_off(partial(hand.claim, 3), moment)
        orphans = (await broker.heartbeat(hand.session, [])).orphans
        counts = (await broker.stats()).queues[0]
        assert counts.waiting + counts.running == len(names)
        for orphan in orphans:
            await hand.end(orphan, HANDED_BACK)

    # What is still on its way is an orphan later.
    found: set[str] = set()
    while found != names:
        found.update(ids(await hand.claim()))
        found.update(ids((await broker.heartbeat(hand.session, [])).orphans))


@case("C803", "a change that was cut off happened or did not", promises=(1,))
async def a_change_that_was_cut_off_happened_or_did_not(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for moment in MOMENTS:
        job = make_job()
        await stored(broker, job)
        done = write(await hand.claim_one(), Succeeded(result=b"1"), 0)
        await cut_off(partial(broker.apply, [done]), moment)

        # It may still be on its way: what comes behind it finds the one or the other.
        (answer,) = (await broker.apply([done])).results

        found = await known(broker, job)
        assert isinstance(answer, Applied | Conflict)
        assert (found.head.state, found.result) == (State.SUCCEEDED, b"1")
        assert len(found.history) == 1


@case("C804", "a turn that was cut off loses nothing", promises=(1,))
async def a_turn_that_was_cut_off_loses_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for moment in MOMENTS:
        first, second = make_job(), make_job()
        await stored(broker, first, second)
        done = write(await hand.claim_one(), Succeeded(), 0)
        await cut_off(partial(broker.turn, hand.session, [done], ["default"], 1), moment)

        await broker.apply([done])

        taken: list[str] = []
        while not taken:
            taken = ids((await broker.heartbeat(hand.session, [])).orphans)
            taken = taken or ids(await hand.claim())
        assert taken == [second.id]
        assert (await known(broker, first)).head.state is State.SUCCEEDED
        await hand.end(await known(broker, ref(second)), Succeeded())


@case("C805", "a document that was cut off is old or new", promises=(1,))
async def a_document_that_was_cut_off_is_old_or_new(lab: Lab) -> None:
    broker = lab.broker
    for moment in MOMENTS:
        name = f"document-{moment}"
        await cut_off(partial(broker.put_document, name, b"new", 0), moment)

        document = await broker.document(name)

        assert document is None or document.data == b"new"
        assert await broker.put_document(name, b"newer", document.version if document else 0)
