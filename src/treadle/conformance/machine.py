"""A Hypothesis state machine over the whole protocol.

Its rules do not call the broker: each adds one operation to a program, and the program is run when
it is complete. All symbols of a program find their meaning while it runs, so nothing is lost, and
one event loop serves a whole example instead of one step. A rule adds two operations that make
sense together, since choosing a rule costs more than all else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from hypothesis.stateful import RuleBasedStateMachine, rule

from treadle.conformance.program import drawing as d
from treadle.conformance.program import ops
from treadle.conformance.program.ops import How, NewJob, Op

Run = Callable[[tuple[Op, ...]], None]
"""Runs a program; raises if it fails."""


class ProtocolMachine(RuleBasedStateMachine):
    """Writes a program, rule by rule. `run` is set by whoever uses it (`machine_for`)."""

    run: ClassVar[Run]

    def __init__(self) -> None:
        super().__init__()
        self.program: list[Op] = []

    def teardown(self) -> None:
        """Run the program."""
        type(self).run(tuple(self.program))

    # -- workers

    @rule(jobs=d.batches, op=d.claims)
    def enqueue(self, jobs: tuple[NewJob, ...], op: Op) -> None:
        """Enqueue jobs, and let a worker claim."""
        self.program += [ops.Enqueue(jobs), op]

    @rule(jobs=d.batches, worker=d.workers)
    def enqueue_and_claim(self, jobs: tuple[NewJob, ...], worker: str) -> None:
        """Enqueue jobs, and let a worker claim all that it can."""
        self.program += [ops.Enqueue(jobs), ops.Claim(worker=worker, limit=100)]

    @rule(op=d.settlings, then=d.claims)
    def settle(self, op: Op, then: Op) -> None:
        """Let a worker settle what it holds, and another one claim."""
        self.program += [op, then]

    @rule(worker=d.workers, jobs=d.follow_ups, then=d.late_calls)
    def follow_up(self, worker: str, jobs: tuple[NewJob, ...], then: Op) -> None:
        """Let an attempt bring jobs with it, and a call come late."""
        ends = ((0, How.SUCCEED),)
        self.program += [ops.Settle(worker=worker, ends=ends, follow_ups=jobs), then]

    @rule(op=d.turns, then=d.turns)
    def turn(self, op: Op, then: Op) -> None:
        """Settle and claim in one call, twice."""
        self.program += [op, then]

    @rule(op=d.late_calls, then=d.settlings)
    def call_late(self, op: Op, then: Op) -> None:
        """Repeat a call, or settle what was settled before."""
        self.program += [op, then]

    @rule(op=d.beats, then=d.jots)
    def keep_in_touch(self, op: Op, then: Op) -> None:
        """Renew a lease, and note something."""
        self.program += [op, then]

    @rule(scene=d.scenes)
    def play(self, scene: tuple[Op, ...]) -> None:
        """Play a scene in which something is at stake."""
        self.program += scene

    @rule(scene=d.scenes, then=d.claims)
    def play_and_claim(self, scene: tuple[Op, ...], then: Op) -> None:
        """Play a scene, and let a worker claim."""
        self.program += [*scene, then]

    @rule(scene=d.scenes, then=d.settlings)
    def play_and_settle(self, scene: tuple[Op, ...], then: Op) -> None:
        """Play a scene, and let a worker settle."""
        self.program += [*scene, then]

    # -- people and time

    @rule(op=d.requests, then=d.requests)
    def ask(self, op: Op, then: Op) -> None:
        """Ask something of two jobs."""
        self.program += [op, then]

    @rule(op=d.times, then=d.sweeps)
    def elapse(self, op: Op, then: Op) -> None:
        """Let time pass, and somebody look after what is overdue."""
        self.program += [op, then]

    @rule(op=d.sweeps, then=d.claims)
    def sweep(self, op: Op, then: Op) -> None:
        """Look after what is overdue, and claim."""
        self.program += [op, then]

    @rule(op=d.sessions, then=d.sweeps)
    def begin_or_end(self, op: Op, then: Op) -> None:
        """Open or close a session, reconnect, or restart."""
        self.program += [op, then]

    @rule(op=d.controls, then=d.claims)
    def control(self, op: Op, then: Op) -> None:
        """Pause, resume, or set limits, and claim."""
        self.program += [op, then]

    @rule(op=d.readings, then=d.listings)
    def read(self, op: Op, then: Op) -> None:
        """Read, and turn the pages of a listing."""
        self.program += [op, then]

    @rule(op=d.documents, then=d.readings)
    def write_down(self, op: Op, then: Op) -> None:
        """Write a control document, and read."""
        self.program += [op, then]


def machine_for(run: Run, seed: int) -> type[ProtocolMachine]:
    """Make a machine whose programs are run by `run`, and that draws them by a seed."""
    members = {"run": staticmethod(run), "_hypothesis_internal_use_seed": seed}
    return type("ProtocolMachine", (ProtocolMachine,), members)
