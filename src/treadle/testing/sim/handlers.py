"""The handlers of simulated jobs: each does what the plan says for its job and attempt."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from msgspec import structs

from treadle.conformance.history import History
from treadle.domain.job import Job, Ref
from treadle.domain.outcome import Outcome
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.context import Context
from treadle.runtime.registry import Registry
from treadle.runtime.signals import Cancel, GiveUp, Retry, Snooze
from treadle.testing.sim.laws import Laws
from treadle.testing.sim.machine import Machine
from treadle.testing.sim.plan import Act, Part

Where = Callable[[], Machine]
"""Tells in which process code runs."""

_OK = Act()


class Stage:
    """A registry whose handlers play the parts of a plan, watched by the laws."""

    def __init__(self, parts: dict[int, Part], laws: Laws, history: History, where: Where) -> None:
        self.registry = Registry()
        self.running: dict[str, Machine] = {}
        """Which process runs a job's handler now."""
        self._parts = parts
        self._laws = laws
        self._history = history
        self._where = where
        self._deaths: dict[int, int] = {}
        self._played: dict[int, int] = {}
        """How many acts of a part are over; a success stays what it is."""
        self._wish: dict[str, int] = {}
        self.registry.use(self._watch)
        self._register()

    def _register(self) -> None:
        registry = self.registry

        # Functions inside a function: suspects run alone in their own process, not in a child.
        @registry.handler("sim.async")
        async def plain(n: int) -> int:
            act = self._begin(n)
            await anyio.sleep(act.sleep_s)
            self._end(n, act)
            return n

        @registry.handler("sim.context")
        async def with_context(ctx: Context, n: int) -> int:
            act = self._begin(n)
            ctx.progress(1, 2)
            if act.ends == "step":
                await ctx.step("first", self._step, n)
            await anyio.sleep(act.sleep_s)
            ctx.log("half-way")
            self._end(n, act)
            return n

        @registry.handler("sim.sync", run_in="loop")
        def sync(ctx: Context, n: int) -> int:
            ctx.log("begins")
            self._end(n, self._begin(n))
            return n

    def add(self, part: Part) -> Job:
        """Take one more part; return its job, with an id of its own."""
        n = len(self._parts)
        job = structs.replace(part.job, id=f"x{n}", type="sim.async", payload=b'{"n":%d}' % n)
        self._parts[n] = structs.replace(part, job=job)
        return job

    async def _watch(self, attempt: Attempt, call_next: Next) -> Outcome:
        job, fence = attempt.job, attempt.lease.fence
        lease, ref = (job.queue, job.id, fence), Ref(job.queue, job.id)
        self.running[job.id] = self._where()
        self._history.note_run(ref, fence, begins=True)
        self._laws.started(lease, attempt.number)
        outcome = await call_next(attempt)
        self._history.note_run(ref, fence, begins=False)
        self.running.pop(job.id, None)
        self._laws.ended(lease, outcome, self._wish.pop(job.id, 0))
        return outcome

    async def _step(self, n: int) -> int:
        await anyio.sleep(0.01)
        return n

    def _begin(self, n: int) -> Act:
        part = self._parts[n]
        if self._deaths.get(n, 0) < part.deaths:
            self._deaths[n] = self._deaths.get(n, 0) + 1
            self._where().kill()
        played = self._played.get(n, 0)
        return part.acts[played] if played < len(part.acts) else _OK

    def _end(self, n: int, act: Act) -> None:
        job_id = self._parts[n].job.id
        if act.ends != "ok":
            self._played[n] = self._played.get(n, 0) + 1
        match act.ends:
            case "fail":
                raise ValueError(f"job {n} fails")
            case "snooze":
                self._wish[job_id] = round(act.wish_s * 1000)
                raise Snooze(act.wish_s)
            case "retry":
                self._wish[job_id] = round(act.wish_s * 1000)
                raise Retry(after=act.wish_s)
            case "give up":
                raise GiveUp("planned")
            case "cancel":
                raise Cancel("planned")
            case _:
                return
