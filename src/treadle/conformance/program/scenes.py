"""Short scenes in which something is at stake: beginnings that chance alone seldom finds.

Each is a few operations with open ends; what comes before, between and after them is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from treadle.conformance.program import ops
from treadle.conformance.program.ops import How, NewJob, Op, What

Scene = tuple[Op, ...]

_ENDS = (How.SUCCEED, How.FAIL, How.HAND_BACK, How.GIVE_UP, How.SNOOZE, How.LOSE, How.CANCEL)
_TWO = (("ada", "bob"), ("bob", "ada"))


def _pairs(own: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of ids: some that all share, and some that are free most of the time."""
    return (("a", "b"), (f"{own}1", f"{own}2"), (f"{own}3", f"{own}1"))


def scenes() -> tuple[Scene, ...]:
    """Return every scene, by kind; each kind comes about equally often."""
    kinds = (
        *(_full_keys, _families, _rivals, _cancels, _oblivion, _thefts, _notes, _listings),
        *(_pauses, _echoes, _reincarnations),
    )
    found = [tuple(kind()) for kind in kinds]
    most = max(map(len, found))
    return tuple(scene for scenes in found for scene in scenes * (most // len(scenes)))


def _full_keys() -> Iterator[Scene]:
    """More jobs of a concurrency key than may run; one of those that run ends."""
    for how, most, (one, two), (ada, _) in product(_ENDS, (1, 2), _pairs("k"), _TWO):
        jobs = (
            NewJob(id=one, key="slot"),
            NewJob(id=two, key="slot"),
            NewJob(id=one, key="slot", priority=1, queue="two"),
            NewJob(id="e"),
        )
        end = ops.Settle(worker=ada, ends=((0, how),))
        yield (ops.LimitKey("slot", most), ops.Enqueue(jobs), ops.Claim(worker=ada, limit=100), end)


def _families() -> Iterator[Scene]:
    """Let a job wait for another one, which ends in some way."""
    for how, (one, two), (ada, _), delay in product(_ENDS, _pairs("f"), _TWO, (0, 1)):
        child = NewJob(id=two, after=(f"one/{one}",), delay=delay, run_anyway=how is How.GIVE_UP)
        yield (
            ops.Enqueue((NewJob(id=one), child)),
            ops.Sweep(),
            ops.Claim(worker=ada),
            ops.Settle(worker=ada, ends=((0, how),)),
        )


def _rivals() -> Iterator[Scene]:
    """Two jobs want one unique key; the first wants it again."""
    wishes = (What.RETRY, What.REWRITE, What.DISCARD)
    for scope, what, (one, two), (ada, _) in product(
        ("final", "waiting", "period"), wishes, _pairs("r"), _TWO
    ):
        first = NewJob(id=one, unique="k", scope=scope, policy="forgotten")
        yield (
            ops.Enqueue((first,)),
            ops.Claim(worker=ada, limit=100),
            ops.Settle(worker=ada, ends=((-1, How.SUCCEED),)),
            ops.Enqueue((NewJob(id=two, unique="k", scope=scope),)),
            ops.Ask(job=f"one/{one}", what=what),
        )


def _cancels() -> Iterator[Scene]:
    """Ask to cancel a running job, which ends in some way."""
    for how, (one, _), (ada, bob) in product(_ENDS, _pairs("c"), _TWO):
        yield (
            ops.Enqueue((NewJob(id=one),)),
            ops.Claim(worker=ada, limit=100),
            ops.Ask(job=f"one/{one}", what=What.CANCEL),
            ops.Beat(worker=ada),
            ops.Settle(worker=ada, ends=((0, how),)),
            ops.Claim(worker=bob),
        )


def _oblivion() -> Iterator[Scene]:
    """Drop a record, and let its id come back."""
    for policy, ticks, (one, two) in product(("brief", "forgotten"), (1, 3), _pairs("o")):
        yield (
            ops.Enqueue((NewJob(id=one, policy=policy), NewJob(id=two, policy=policy))),
            ops.Claim(worker="bob", limit=100),
            ops.Settle(worker="bob", ends=((0, How.SUCCEED), (0, How.FAIL))),
            ops.Elapse(ticks),
            ops.Purge(),
            ops.Enqueue((NewJob(id=one),)),
        )


def _thefts() -> Iterator[Scene]:
    """End a lease, let another worker run the job, and the first one come back."""
    for how, (one, two), ticks in product(_ENDS, _pairs("t"), (3, 1)):
        yield (
            ops.Open(worker="ada", lease=ticks),
            ops.Enqueue((NewJob(id=one), NewJob(id=two))),
            ops.Claim(worker="ada", limit=100),
            ops.Elapse(ticks),
            ops.Sweep(),
            ops.Claim(worker="bob"),
            ops.Settle(worker="ada", ends=((0, how),)),
            ops.Beat(worker="ada"),
        )


def _notes() -> Iterator[Scene]:
    """Note something in an attempt, for the next one to find."""
    for how, kinds, (ada, bob) in product(
        _ENDS, (("step",), ("progress", "log"), ("step", "step")), _TWO
    ):
        yield (
            ops.Enqueue((NewJob(id="n1"),)),
            ops.Claim(worker=ada, limit=100),
            ops.Jot(worker=ada, kinds=kinds),
            ops.Settle(worker=ada, ends=((0, how),)),
            ops.Claim(worker=bob),
            ops.Jot(worker=bob, kinds=kinds),
        )


def _listings() -> Iterator[Scene]:
    """Move jobs while a listing is under way."""
    for oldest, queue, limit in product((False, True), ("", "one"), (1, 2)):
        yield (
            ops.Enqueue(tuple(NewJob(id=one) for one in "abcd")),
            ops.List(queue=queue, oldest=oldest, limit=limit, pages=1),
            ops.Claim(worker="bob", limit=2),
            ops.Settle(worker="bob", ends=((0, How.SUCCEED),)),
            ops.List(pages=2, go_on=True),
        )


def _pauses() -> Iterator[Scene]:
    """Pause a queue while there is something to do in it."""
    for how, (one, two), (ada, _) in product(_ENDS[:3], _pairs("p"), _TWO):
        turn = ops.Turn(worker=ada, ends=((0, how),), limit=100)
        yield (
            ops.Enqueue((NewJob(id=one), NewJob(id=two))),
            ops.Claim(worker=ada),
            ops.Pause("one", True),
            turn,
            ops.Claim(worker=ada),
            ops.Pause("one", False),
        )


def _echoes() -> Iterator[Scene]:
    """Settle an attempt that was settled, in another way."""
    for how, (one, two), (ada, _) in product(_ENDS, _pairs("e"), _TWO):
        late = ops.Settle(
            worker=ada, ends=((0, How.SUCCEED),), follow_ups=(NewJob(id=two),), late=True
        )
        yield (
            ops.Enqueue((NewJob(id=one),)),
            ops.Claim(worker=ada, limit=100),
            ops.Settle(worker=ada, ends=((0, how),)),
            late,
            ops.Purge(),
            ops.Repeat(),
        )


def _reincarnations() -> Iterator[Scene]:
    """Let an id come back without the unique key that it had, and another job want that key."""
    for scope, (one, two), ticks in product(("final", "waiting"), _pairs("z"), (5, 2)):
        yield (
            ops.Enqueue((NewJob(id=one, unique="k", scope=scope, policy="brief"),)),
            ops.Claim(worker="bob", limit=100),
            ops.Settle(worker="bob", ends=((-1, How.SUCCEED),)),
            ops.Elapse(2),
            ops.Purge(),
            ops.Elapse(ticks),
            ops.Enqueue((NewJob(id=one),)),
            ops.Enqueue((NewJob(id=two, unique="k", scope=scope),)),
        )
