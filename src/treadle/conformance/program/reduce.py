"""Makes a failing program smaller: whatever can be left out without losing the failure, is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from msgspec import structs

from treadle.conformance.program import ops
from treadle.conformance.program.ops import NewJob, Op

T = TypeVar("T")

Fails = Callable[[tuple[Op, ...]], bool]
"""Tells whether a program still fails in the same way."""


def reduced(program: tuple[Op, ...], fails: Fails) -> tuple[Op, ...]:
    """Return a program that fails as `program` does, and of which no single part can be left out.

    `fails` may say False at any time to bring this to an end; the smallest so far is returned.
    """
    while True:
        smaller = _without_operations(program, fails)
        smaller = _with_simpler_operations(smaller, fails)
        if smaller == program:
            return program
        program = smaller


def _without_operations(program: tuple[Op, ...], fails: Fails) -> tuple[Op, ...]:
    """Leave out runs of operations, the longest first, from the end."""
    length = max(len(program) // 2, 1)
    while length:
        start = len(program) - length
        while start >= 0:
            shorter = program[:start] + program[start + length :]
            if fails(shorter):
                program = shorter
            start -= length
        length //= 2
    return program


def _with_simpler_operations(program: tuple[Op, ...], fails: Fails) -> tuple[Op, ...]:
    for place in range(len(program)):
        found = True
        while found:
            found = False
            for simpler in _simpler(program[place]):
                changed = (*program[:place], simpler, *program[place + 1 :])
                if fails(changed):
                    program, found = changed, True
                    break
    return program


def _simpler(op: Op) -> Iterator[Op]:
    """Yield operations that do a little less, or what is more usual."""
    match op:
        case ops.Enqueue(jobs):
            for less in _less(jobs):
                yield ops.Enqueue(less)
            for place, job in enumerate(jobs):
                for plainer in _plainer(job):
                    yield ops.Enqueue((*jobs[:place], plainer, *jobs[place + 1 :]))
        case ops.Settle(ends=ends, follow_ups=follow_ups):
            if follow_ups:
                yield from (
                    structs.replace(op, follow_ups=less) for less in ((), *_less(follow_ups))
                )
            yield from (structs.replace(op, ends=less) for less in _less(ends))
        case ops.Turn(ends=ends):
            yield from (structs.replace(op, ends=less) for less in _less(ends))
            if ends:
                yield structs.replace(op, ends=())
        case ops.Claim() if op.queues != ("one", "two"):
            yield structs.replace(op, queues=("one", "two"))
        case ops.Read(jobs=jobs):
            yield from (structs.replace(op, jobs=less) for less in _less(jobs))
        case ops.Jot(kinds=kinds):
            yield from (structs.replace(op, kinds=less) for less in _less(kinds))
        case ops.Elapse(ticks) if ticks > 1:
            yield from (ops.Elapse(fewer) for fewer in (1, 2, 3) if fewer < ticks)
        case _:
            return


def _less(parts: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Yield the parts without one of them; one stays."""
    if len(parts) > 1:
        for place in range(len(parts)):
            yield (*parts[:place], *parts[place + 1 :])


def _plainer(job: NewJob) -> Iterator[NewJob]:
    """Yield the job with one field as usual."""
    plain = NewJob(id=job.id)
    for name in NewJob.__struct_fields__:
        if getattr(job, name) != getattr(plain, name):
            yield structs.replace(job, **{name: getattr(plain, name)})
