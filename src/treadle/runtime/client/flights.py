"""Enqueues of one event loop, gathered into one broker call per flight: group commit without timers.

Theory of operation. Who comes first leads: it sends its jobs and those of everybody who came in the
same turn of the loop. Who comes while a flight is under way waits; when it has landed, the first
of those leads the next one. There is no task in the background, so nothing outlives its caller.

What may go wrong. The leader is cancelled: the others of its flight go again, with the next leader.
The reply is lost, or the deadline comes first: whoever still has time goes again. Going again
is safe, since a job is stored once under its id; if it is there then, nobody can tell who stored it
(`Echo`). So each caller learns one of three things in bounded
time: stored, not stored (`NotAccepted`), or not known (`Uncertain`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from treadle.broker.base import Applied, Broker, Clock, Duplicate
from treadle.broker.sleeper import Sleeper
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Refused
from treadle.errors import BrokerUnavailable, NotAccepted, Uncertain

FLIGHT_JOBS: Final = 1_000
"""Most jobs of one broker call."""
_AGAIN_S: Final = 0.1
_TOO_LATE_S: Final = 0.001


class Echo(Struct, frozen=True, kw_only=True):
    """This id is known, but an earlier call whose reply was lost may be the one that stored it."""

    record: Record


Answer = Applied | Duplicate | Refused
"""What a broker says."""
Result = Answer | Echo
"""What a caller learns."""


class _Caller(Struct, eq=False):
    """One call of `fly`: its jobs, and what became of them."""

    jobs: Sequence[Job]
    arrived: float
    wake: Callable[[], object] | None = None
    leads: bool = False
    gone: bool = False
    """Its task was cancelled: nobody waits for the answer."""
    sent: bool = False
    """A broker call with these jobs was made whose effect is not known."""
    is_answered: bool = False
    """It has results, or a failure."""
    results: Sequence[Result] = ()
    failure: Exception | None = None

    def answer(self) -> Sequence[Result]:
        if self.failure is not None:
            raise self.failure
        return self.results

    def land(self, results: Sequence[Answer], *, again: bool) -> None:
        """Take what the broker answered; `again` says that it may have been told before."""
        self.results = list(map(_heard_again, self.jobs, results)) if again else results
        self.is_answered = True

    def raises(self, failure: Exception) -> None:
        """Take an error as the answer."""
        self.failure = failure
        self.is_answered = True

    def fail(self, why: str, cause: Exception | None = None) -> None:
        """Fail with what is true of these jobs: not stored, or not known."""
        if self.sent:
            ids = [job.id for job in self.jobs]
            text = f"{_named(self.jobs)}: it is not known whether it was stored: {why}. "
            text += "Enqueueing again with the same id is safe."
            failure: Exception = Uncertain(text, ids=ids)
        else:
            failure = NotAccepted(f"{_named(self.jobs)}: nothing was stored: {why}")
        failure.__cause__ = cause
        self.raises(failure)


class Flights:
    """The enqueues of one event loop."""

    def __init__(
        self,
        broker: Callable[[], Awaitable[Broker]],
        timeout_s: float,
        clock: Clock,
        synced: Callable[[int], None],
    ) -> None:
        self.synced = synced
        """Told the broker's time with each reply."""
        self._broker = broker
        self._timeout_s = timeout_s
        self._clock = clock
        self._waiting: list[_Caller] = []
        self._flying = False
        self._sleeper = Sleeper()

    async def fly(self, jobs: Sequence[Job]) -> Sequence[Result]:
        """Store up to `FLIGHT_JOBS` jobs, together with those of others; answer for each of them.

        Raises:
            NotAccepted: if none of them was stored.
            Uncertain: if they may be stored.
        """
        caller = _Caller(jobs, self._clock.monotonic())
        self._waiting.append(caller)
        try:
            if self._flying:
                landed, caller.wake = self._sleeper.make()
                await landed
                if not caller.leads:
                    return caller.answer()
            caller.leads = self._flying = True
            while not caller.is_answered:
                await self._lead()
        finally:
            if caller.leads or not caller.is_answered:
                self._leave(caller)
        return caller.answer()

    def _leave(self, caller: _Caller) -> None:
        """Forget a caller that led or was cancelled; if it led, the first who waits leads on."""
        caller.gone = True
        if caller in self._waiting:
            self._waiting.remove(caller)
        if not caller.leads:
            return
        self._flying = bool(self._waiting)
        if self._flying:
            first = self._waiting[0]
            first.leads = True
            if first.wake is not None:
                first.wake()

    async def _lead(self) -> None:
        await checkpoint()  # who was answered just now comes along with what it has next
        going = self._take()
        try:
            await self._send(going)
        finally:
            again = [one for one in going if not (one.is_answered or one.gone)]
            self._waiting[:0] = again
            for caller in going:
                if caller.is_answered and caller.wake is not None:
                    caller.wake()

    def _take(self) -> list[_Caller]:
        """Take from the front what fits into one flight, the first in any case."""
        count = size = 0
        for caller in self._waiting:
            size += len(caller.jobs)
            if count and size > FLIGHT_JOBS:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _send(self, callers: Sequence[_Caller]) -> None:
        latest = self._clock.monotonic() - self._timeout_s + _TOO_LATE_S
        oldest = min([caller.arrived for caller in callers])
        if oldest < latest:
            for caller in callers:
                if caller.arrived < latest:
                    caller.fail(f"the broker did not answer within {self._timeout_s:g} s")
            return  # the leader is among those who are late: somebody else leads the rest
        fresh = [caller for caller in callers if not caller.sent]
        with anyio.move_on_after(oldest - latest + _TOO_LATE_S):
            try:
                await self._call(callers)
            except BrokerUnavailable as error:  # this call stored nothing
                for caller in fresh:
                    caller.sent = False
                    caller.fail(str(error), error)
                await anyio.sleep(_AGAIN_S if len(fresh) < len(callers) else 0)
            except Uncertain:
                await anyio.sleep(_AGAIN_S)
            except Exception as error:  # noqa: BLE001 - each caller raises it
                for caller in callers:
                    caller.raises(error)

    async def _call(self, going: Sequence[_Caller]) -> None:
        broker = await self._broker()
        one = len(going) == 1
        jobs = going[0].jobs if one else [job for caller in going for job in caller.jobs]
        again = [caller.sent for caller in going]
        for caller in going:
            caller.sent = True
        enqueued = await broker.enqueue(jobs)
        self.synced(enqueued.now)
        end = 0
        for caller, sent_before in zip(going, again, strict=True):
            begin, end = end, end + len(caller.jobs)
            results = enqueued.results if one else enqueued.results[begin:end]
            caller.land(results, again=sent_before)


def _heard_again(job: Job, answer: Answer) -> Result:
    """Read the answer to a job that an earlier call may have stored.

    A job of the same id and body may be its own. Another body is somebody else's, unless it was
    replaced since; and who has lost its body cannot be told.
    """
    if not isinstance(answer, Duplicate) or answer.record.ref != Ref(job.queue, job.id):
        return answer
    there = answer.record
    own = there.job == job or there.forgotten or job.unique is not None
    return Echo(record=there) if own else answer


def _named(jobs: Sequence[Job]) -> str:
    if len(jobs) == 1:
        return f"job {jobs[0].id} ({jobs[0].type}, queue {jobs[0].queue})"
    return f"{len(jobs)} jobs ({jobs[0].id} to {jobs[-1].id})"
