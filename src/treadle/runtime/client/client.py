"""The client of one application: lazy, one broker for each event loop that uses it.

Nothing happens before the first call. A call finds the lane of the loop that it runs on; after a
fork all lanes are forgotten (their threads and sockets are the parent's) and made anew.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import repeat
from threading import Lock
from typing import Any, Final, assert_never, cast

import anyio
from anyio.lowlevel import current_token

from treadle.broker.base import (
    Applied,
    Broker,
    Clock,
    Duplicate,
    Durability,
    Filter,
    Notes,
    Order,
    Page,
    Stats,
)
from treadle.domain.job import After, At, Record, Ref
from treadle.domain.job import Job as Spec
from treadle.domain.limits import PAYLOAD_BYTES
from treadle.domain.outcome import CancelAsked, DiscardAsked, Refused, RescheduleAsked, RetryAsked
from treadle.domain.retry import Rng
from treadle.domain.state import FINAL
from treadle.domain.unique import OnConflict
from treadle.errors import NotAccepted, ResultTimeout, TreadleError, Uncertain
from treadle.runtime.client.accepting import key_held, refusal, together
from treadle.runtime.client.ask import Asked, Done, ask, not_found, replace
from treadle.runtime.client.check import JobCheck
from treadle.runtime.client.ending import Decode, result_of
from treadle.runtime.client.flights import FLIGHT_JOBS, Echo, Result
from treadle.runtime.client.lane import Lane
from treadle.runtime.clock import BrokerClock
from treadle.runtime.duration import Duration, to_ms
from treadle.runtime.handle import Job
from treadle.runtime.portal import PORTAL

ENQUEUE_TIMEOUT_S: Final = 5.0
_MOST_TRIES: Final = 5


class Client:
    """Enqueues jobs, waits for their results and asks something of them; safe on any loop or thread."""

    def __init__(
        self,
        broker_factory: Callable[[], Broker],
        *,
        clock: Clock,
        rng: Rng,
        decode: Decode,
        enqueue_timeout_s: float = ENQUEUE_TIMEOUT_S,
        payload_limit: int = PAYLOAD_BYTES,
        durability: Durability | None = None,
    ) -> None:
        self.decode = decode
        self._broker_factory = broker_factory
        self._clock = clock
        self._rng = rng
        self._timeout_s = enqueue_timeout_s
        self._durability = durability
        self._check = JobCheck(payload_limit)
        self._lanes: dict[object, Lane] = {}
        self._lock = Lock()
        self._pid = os.getpid()
        self._broker_clock = BrokerClock(clock)

    async def enqueue(self, jobs: Sequence[Spec], *, checked: bool = False) -> list[Job[Any]]:
        """Store each job once; return their handles.

        A job whose id is known already, or whose unique key is held by a job that shall be kept,
        gives the handle of that one. All are checked before any is sent, unless `checked` says that
        it was done. If some of many are refused, the error says how many and which; those that were
        accepted stay.

        Raises:
            PayloadError, TooLarge, ConfigurationError: if one does not fit; nothing was stored.
            NotAccepted: if jobs were refused, or the broker cannot be reached.
            Uncertain: if jobs may be stored; `ids` names them, and enqueueing them again is safe.
        """
        if not checked:
            self._check(jobs)
        if len(jobs) == 1:  # almost all calls
            lane = self._lane()
            (result,) = await lane.flights.fly(jobs)
            if type(result) is Applied:
                return [Job(self, jobs[0])]
            return [await self._settle_one(lane, jobs[0], result)]
        handles: list[Job[Any]] = []
        for start in range(0, len(jobs), FLIGHT_JOBS):
            some = jobs[start : start + FLIGHT_JOBS] if len(jobs) > FLIGHT_JOBS else jobs
            unsent = len(jobs) - start - len(some)
            try:
                answers = await self._store(some)
            except (NotAccepted, Uncertain) as error:
                if handles or unsent:
                    error.add_note(f"{len(handles)} jobs were accepted before, {unsent} not sent")
                raise
            if {type(answer) for answer in answers} != {Job}:
                raise together(some, answers, len(handles), unsent)
            handles += cast("list[Job[Any]]", answers)
        return handles

    async def offer(self, jobs: Sequence[Spec]) -> list[Job[Any] | NotAccepted]:
        """Store each job once; answer for each with its handle, or why it was not accepted.

        Raises:
            PayloadError, TooLarge, ConfigurationError: if one does not fit; nothing was stored.
            NotAccepted: if the broker cannot be reached.
            Uncertain: if jobs may be stored; `ids` names them.
        """
        self._check(jobs)
        answers: list[Job[Any] | NotAccepted] = []
        for start in range(0, len(jobs), FLIGHT_JOBS):
            answers += await self._store(jobs[start : start + FLIGHT_JOBS])
        return answers

    def enqueue_sync(self, jobs: Sequence[Spec]) -> list[Job[Any]]:
        """Do what `enqueue` does, from a thread that runs no event loop."""
        return PORTAL.call(self.enqueue, jobs)

    async def get(self, ref: Ref) -> Record:
        """Return everything that is known of a job; a queue "" asks every queue.

        Raises:
            JobNotFound: if it is not known.
        """
        (record,) = await (await self.broker()).get([ref])
        if record is None:
            raise not_found(ref)
        return record

    async def handle(self, id: str, queue: str = "") -> Job[Any]:
        """Return the handle of a job that was enqueued earlier, perhaps elsewhere.

        Raises:
            JobNotFound: if it is not known.
        """
        record = await self.get(Ref(queue, id))
        return Job(self, record.job, record, None, False)

    async def final(self, ref: Ref, timeout: Duration | None = None) -> Record:
        """Wait until a job is final and return its record.

        Raises:
            JobNotFound: if it is not known.
            ResultTimeout: if it is not final within `timeout`; it goes on.
        """
        seconds = math.inf if timeout is None else to_ms(timeout, "timeout") / 1000
        record: Record | None = None
        if seconds <= 0:
            record = await self.get(ref)
            if record.head.state in FINAL:
                return record
        with anyio.move_on_after(seconds):
            record = await self._lane().watch.final(ref)
            if record is None:
                raise not_found(ref)
            return record
        raise ResultTimeout(f"job {ref.id} was not final after {seconds:g} s; it goes on")

    async def result(self, ref: Ref, timeout: Duration | None = None) -> Any:
        """Wait for a job and return its result.

        Raises:
            JobDead, JobCancelled: if it ended without one.
            ResultGone: if it is no longer kept.
            JobNotFound: if the job is not known.
            ResultTimeout: if it is not final within `timeout`.
        """
        return result_of(await self.final(ref, timeout), self.decode)

    async def cancel(self, ref: Ref, *, by: str = "") -> None:
        """Cancel a job: at once if it waits, else ask the worker that runs it.

        Raises:
            JobNotFound, IllegalTransition: if it is not known, or final.
        """
        await self._ask_one(ref, CancelAsked(by=by))

    async def retry(self, ref: Ref, *, by: str = "") -> None:
        """Start a new run of a final job; its history stays.

        Raises:
            JobNotFound, IllegalTransition: if it is not known, or not final.
            KeyHeld: if another job holds its unique key by now.
        """
        await self._ask_one(ref, RetryAsked(by=by))

    async def discard(self, ref: Ref, *, by: str = "") -> None:
        """Remove the record of a final job; its id is remembered for a while.

        Raises:
            JobNotFound, IllegalTransition: if it is not known, or not final.
        """
        await self._ask_one(ref, DiscardAsked(by=by))

    async def reschedule(self, ref: Ref, due: After | At, *, by: str = "") -> None:
        """Run a waiting job at another time.

        Raises:
            JobNotFound, IllegalTransition: if it is not known, or does not wait.
        """
        await self._ask_one(ref, RescheduleAsked(due=due, by=by))

    async def ask(self, refs: Sequence[Ref], asked: Asked) -> list[Done | TreadleError]:
        """Ask the same of many jobs, in batches; tell of each what was done, or why it was not."""
        return await ask(self._lane(), refs, asked, self._rng)

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return one page of jobs that match; see `Broker.find`."""
        lane = self._lane()
        page = await (await lane.broker()).find(filter, order=order, cursor=cursor, limit=limit)
        lane.synced(page.now)
        return page

    async def stats(self) -> Stats:
        """Return the counts of every queue."""
        lane = self._lane()
        stats = await (await lane.broker()).stats()
        lane.synced(stats.now)
        return stats

    async def notes(self, ref: Ref) -> Notes:
        """Return what handlers noted about a job."""
        return await (await self.broker()).notes(ref)

    async def broker(self) -> Broker:
        """Return this event loop's broker, connected."""
        return await self._lane().broker()

    async def close(self) -> None:
        """Disconnect this event loop's broker. Calling twice is harmless."""
        lane = self._lanes.pop(current_token().native_token, None)
        if lane is not None:
            await lane.close()

    def now_ms(self) -> int:
        """Return the broker's time as last heard, plus what has passed since."""
        return self._broker_clock.now_ms()

    async def _ask_one(self, ref: Ref, asked: Asked) -> None:
        (answer,) = await self.ask([ref], asked)
        if isinstance(answer, TreadleError):
            raise answer

    async def _settle_one(self, lane: Lane, job: Spec, result: Result) -> Job[Any]:
        answer = await self._settle(lane, job, result)
        if isinstance(answer, NotAccepted):
            raise answer
        return answer

    async def _store(self, jobs: Sequence[Spec]) -> list[Job[Any] | NotAccepted]:
        lane = self._lane()
        results = await lane.flights.fly(jobs)
        if {type(result) for result in results} == {Applied}:
            return list(map(Job, repeat(self), jobs))
        return [
            await self._settle(lane, job, result) for job, result in zip(jobs, results, strict=True)
        ]

    async def _settle(self, lane: Lane, job: Spec, result: Result) -> Job[Any] | NotAccepted:
        """Do what the job asks for when its id is known or its unique key is held."""
        for _ in range(_MOST_TRIES):
            match result:
                case Applied():
                    return Job(self, job)
                case Refused():
                    return refusal(job, result)
                case Echo(record=own):
                    return Job(self, own.job, own, None, None)
                case Duplicate(record=holder):
                    same = (holder.job.queue, holder.job.id) == (job.queue, job.id)
                    unique = None if same else job.unique
                case _:
                    assert_never(result)
            if unique is None or unique.on_conflict is OnConflict.EXISTING:
                return Job(self, holder.job, holder, None, False)
            if unique.on_conflict is OnConflict.REJECT:
                return key_held(job, holder)
            if await replace(lane, holder, job, self._rng):
                return await self.handle(holder.job.id, holder.job.queue)
            (result,) = await lane.flights.fly([job])
        return NotAccepted(f"job {job.id}: its unique key changed hands {_MOST_TRIES} times")

    def _lane(self) -> Lane:
        if self._pid != os.getpid():
            self._forget()
        native = current_token().native_token
        return self._lanes.get(native) or self._new_lane(native)

    def _new_lane(self, native: object) -> Lane:
        with self._lock:
            for other, lane in list(self._lanes.items()):
                if not lane.is_alive:
                    del self._lanes[other]
            lane = Lane(
                self._broker_factory(),
                clock=self._clock,
                broker_clock=self._broker_clock,
                timeout_s=self._timeout_s,
                durability=self._durability,
            )
            self._lanes[native] = lane
            return lane

    def _forget(self) -> None:
        # Nothing is closed: the threads and sockets of before the fork are the parent's.
        self._lock = Lock()
        self._lanes = {}
        self._pid = os.getpid()
