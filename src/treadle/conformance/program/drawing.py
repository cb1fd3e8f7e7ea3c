"""Hypothesis strategies for the parts of a program.

They are biased towards conflicts: few ids, few names, keys and parents that meet again and again.
Each is drawn from a small pool, since drawing is what a long run spends its time on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Generic, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import structs

from treadle.conformance.program import ops
from treadle.conformance.program.ops import How, NewJob, What
from treadle.conformance.program.scenes import scenes as all_scenes

T = TypeVar("T")

WORKERS = ("ada", "bob", "cyd")
QUEUES = ("one", "two")
IDS = tuple("abcdef")
NAMES = (
    *(f"{queue}/{one}" for queue, one in product(QUEUES, IDS)),
    *(
        f"one/{one}"
        for one in ("c1", "e1", "f1", "f2", "k1", "k2", "n1", "o1", "p1", "r1", "r2", "t1", "w3")
    ),
)

_PLAIN = NewJob(id="")
_SHAPES: tuple[NewJob, ...] = (
    _PLAIN,
    NewJob(id="", key="slot"),
    NewJob(id="", unique="k"),
    NewJob(id="", delay=1),
    NewJob(id="", queue="two"),
    NewJob(id="", priority=0),
    NewJob(id="", priority=3),
    NewJob(id="", after=("one/a",)),
    NewJob(id="", policy="brief"),
    NewJob(id="", policy="slow"),
    NewJob(id="", policy="brief", priority=0),
    NewJob(id="", policy="forgotten"),
    NewJob(id="", key="slot", priority=1),
    NewJob(id="", key="slot", queue="two"),
    NewJob(id="", key="pipe", policy="once"),
    NewJob(id="", key="slot", delay=1),
    NewJob(id="", key="slot", unique="k"),
    NewJob(id="", unique="k", scope="waiting"),
    NewJob(id="", unique="k", scope="period"),
    NewJob(id="", unique="k", scope="period", policy="forgotten"),
    NewJob(id="", unique="k", policy="forgotten"),
    NewJob(id="", unique="m", queue="two", delay=1),
    NewJob(id="", unique="k", scope="waiting", policy="brief"),
    NewJob(id="", delay=2, priority=1),
    NewJob(id="", delay=2, queue="two"),
    NewJob(id="", expires=1),
    NewJob(id="", delay=1, expires=2),
    NewJob(id="", after=("one/a", "one/b")),
    NewJob(id="", after=("two/b",), run_anyway=True),
    NewJob(id="", after=("one/c",), delay=1, key="slot"),
    NewJob(id="", after=("one/a",), queue="two", unique="m"),
    NewJob(id="", type="mail", policy="once"),
    NewJob(id="", policy="forgotten"),
    NewJob(id="", policy="forgotten", queue="two"),
    NewJob(id="", policy="kept", type="mail"),
)


class _Choose(Generic[T]):
    """Turns a number into one of some values; its name is short, since Hypothesis shows it."""

    def __init__(self, choices: Sequence[T]) -> None:
        self._choices = choices

    def __call__(self, number: int) -> T:
        return self._choices[number]

    def __repr__(self) -> str:
        return f"one of {len(self._choices)}"


def pick(choices: Sequence[T]) -> SearchStrategy[T]:
    """Draw one of a few values; the first is the simplest."""
    return st.integers(0, len(choices) - 1).map(_Choose(choices))


_HOWS = (How.SUCCEED, How.FAIL, How.RETURN, How.FAIL, How.HAND_BACK, How.SUCCEED, *How)
_BOTH = ("one", "two")
_QUEUE_LISTS = (_BOTH, _BOTH, ("two", "one"), _BOTH, ("one",), ("two", "unheard-of"))
_LIMITS = (100, 1, 2, 100, 5, 1, 100, 0)
_ACTIVE = ("ada", "bob", "ada", "bob", "cyd")
_TWO = tuple(((0, a), (1, b)) for a, b in zip(_HOWS, _HOWS[3:] + _HOWS[:3], strict=True))
_ENDS = (*(((nth, how),) for nth in (0, 1) for how in _HOWS), *_TWO)

_TEXTS = ("", " b", " c")
"""What payloads hold: jobs of one id mostly differ."""

_jobs = pick(
    [
        structs.replace(shape, id=one, text=_TEXTS[number % len(_TEXTS)])
        for number, shape in enumerate(_SHAPES)
        for one in IDS
    ]
)
batches = st.lists(_jobs, min_size=1, max_size=4).map(tuple)
follow_ups = st.lists(_jobs, min_size=1, max_size=2).map(tuple)
workers = pick(_ACTIVE)
scenes = pick(all_scenes())

claims = pick(
    [
        ops.Claim(worker=worker, queues=queues, limit=limit)
        for limit, queues, worker in product(_LIMITS, _QUEUE_LISTS, _ACTIVE)
    ]
)
settlings = pick([ops.Settle(worker=worker, ends=ends) for ends, worker in product(_ENDS, _ACTIVE)])
turns = pick(
    [
        ops.Turn(worker=worker, ends=ends, queues=queues, limit=limit)
        for limit, queues, ends, worker in product(
            (100, 1, 2), (_BOTH, ("two", "one")), ((), *_ENDS), _ACTIVE
        )
    ]
)
late_calls = pick(
    [
        *(ops.Repeat(ago) for ago in range(4)),
        *(
            ops.Settle(worker=worker, ends=ends, late=True)
            for ends, worker in product(_ENDS, _ACTIVE)
        ),
    ]
)
beats = pick(
    [
        ops.Beat(worker=worker, forget=forget, late=late)
        for late, forget, worker in product((False, True), (0, 1, 2), _ACTIVE)
    ]
)
jots = pick(
    [
        ops.Jot(worker=worker, kinds=kinds, late=late)
        for late, kinds, worker in product(
            (False, False, True),
            (("step",), ("progress",), ("log",), ("step", "step", "log"), ("log", "progress")),
            _ACTIVE,
        )
    ]
)
requests = pick(
    [
        ops.Ask(job=job, what=what, ago=ago)
        for ago, what, job in product(
            (0, 0, 1, 2), (*What, What.CANCEL, What.RETRY, What.DISCARD), NAMES
        )
    ]
)
times = pick([ops.Elapse(ticks) for ticks in (1, 2, 3, 5, 1, 2, 1, 4, 1, 3, 2, 100)])
sweeps = pick(
    [
        ops.Sweep(),
        ops.Sweep(together=False),
        ops.Sweep(limit=1),
        ops.Sweep(),
        ops.Purge(),
        ops.Purge(1),
        ops.Purge(2),
    ]
)
sessions = pick(
    [
        *(ops.Open(worker=worker, lease=lease) for lease in (3, 1, 100) for worker in WORKERS),
        *(ops.Close(worker) for worker in WORKERS),
        *(ops.Switch(), ops.Switch(), ops.Switch(), ops.Reconnect(), ops.Restart()),
    ]
)
controls = pick(
    [
        *(ops.LimitKey("slot", running) for running in (1, 2, 0, None, 1, 1)),
        *(ops.LimitKey("pipe", running) for running in (1, None)),
        *(ops.Pause("one", paused) for paused in (True, False, True, False)),
        *(ops.Pause("two", paused) for paused in (True, False)),
        *(ops.LimitQueue(queue, waiting) for queue in QUEUES for waiting in (None, 2, 0, None)),
    ]
)
documents = pick(
    [
        ops.Put(name=name, text=text, stale=stale)
        for stale in (False, True)
        for text in ("new", "newer", None)
        for name in ("x", "y")
    ]
)
readings = pick(
    [
        ops.Scan(),
        *(ops.Follow(limit) for limit in (1_000, 1, 5)),
        *(
            ops.Read(jobs=(one, NAMES[-1]), anywhere=each)
            for each in (False, True)
            for one in NAMES
        ),
        *(
            ops.List(queue=queue, state=state, text=text, oldest=oldest)
            for oldest in (False, True)
            for queue in ("", "one")
            for state in ("", "queued", "dead", "succeeded", "running", "blocked", "scheduled")
            for text in ("", "mail", "cancelled")
        ),
    ]
)
listings = pick(
    [
        *(
            ops.List(queue=queue, error=error, oldest=oldest, limit=limit, pages=1)
            for limit in (1, 2)
            for oldest in (False, True)
            for queue in ("", "one")
            for error in ("", "fail")
        ),
        *(ops.List(pages=pages, go_on=True) for pages in (1, 2, 99) for _ in range(5)),
    ]
)
