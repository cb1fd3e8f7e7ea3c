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
    """Return scenes of all kinds in turn: what is drawn is mostly near the beginning."""
    found = tuple(kinds().values())
    most = max(map(len, found))
    return tuple(scenes[number % len(scenes)] for number in range(most) for scenes in found)


def kinds() -> dict[str, tuple[Scene, ...]]:
    """Return the scenes by kind."""
    every = (
        *(_full_keys, _families, _rivals, _cancels, _oblivion, _thefts, _notes, _listings),
        *(_pauses, _echoes, _reincarnations, _versions, _stale_requests, _moves, _second_runs),
        *(_papers, _two_parents, _restarts),
    )
    return {kind.__name__.removeprefix("_"): tuple(kind()) for kind in every}


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


def _versions() -> Iterator[Scene]:
    """Give one id to jobs that differ, in every way in which a job is stored."""
    for how, (one, two), (ada, bob) in product(_ENDS[:3], _pairs("v"), _TWO):
        yield (
            ops.Enqueue((NewJob(id=one), NewJob(id=two, text=" x"))),
            ops.Enqueue((NewJob(id=one, text=" y"),)),
            ops.Claim(worker=ada),
            ops.Settle(worker=ada, ends=((0, how),), follow_ups=(NewJob(id=two, text=" z"),)),
            ops.Claim(worker=bob, limit=100),
        )


def _stale_requests() -> Iterator[Scene]:
    """Ask something of a job as it was seen in an earlier attempt, or before an earlier run."""
    for how, (one, _), (ada, bob) in product((How.HAND_BACK, How.FAIL), _pairs("s"), _TWO):
        enqueue, claim = ops.Enqueue((NewJob(id=one, priority=0),)), ops.Claim(worker=ada)
        end = ops.Settle(worker=ada, ends=((-1, how),))
        done = ops.Settle(worker=ada, ends=((-1, How.SUCCEED),))
        again = ops.Claim(worker=bob)
        once_more = (
            ops.Ask(job=f"one/{one}", what=What.RETRY),
            again,
            ops.Settle(worker=bob, ends=((-1, How.GIVE_UP),)),
        )

        def ask(what: What, job: str = f"one/{one}") -> Op:
            return ops.Ask(job=job, what=what, ago=2)

        yield (enqueue, claim, end, again, ask(What.CANCEL))
        yield (enqueue, ops.Read(jobs=(f"one/{one}",)), claim, end, ask(What.LATER))
        yield (enqueue, claim, done, *once_more, ask(What.DISCARD))


def _moves() -> Iterator[Scene]:
    """Move a job in time, and claim it at its new place."""
    claim = ops.Claim(worker="bob", limit=100)
    for what, (one, two), mine, other, ticks in product(
        (What.LATER, What.SOONER), _pairs("m"), (0, 2), (1, 2), (2, 4)
    ):
        yield (
            ops.Enqueue((NewJob(id=one, delay=mine), NewJob(id=two, delay=other))),
            ops.Ask(job=f"one/{one}", what=what),
            ops.Elapse(ticks),
            claim,
            ops.Elapse(2),
            claim,
        )


def _second_runs() -> Iterator[Scene]:
    """Run a final job once more, and look at what the run before has left."""
    for how, (one, _), (ada, bob) in product((How.RETURN, How.GIVE_UP), _pairs("s"), _TWO):
        yield (
            ops.Enqueue((NewJob(id=one, priority=0),)),
            ops.Claim(worker=ada),
            ops.Jot(worker=ada, nth=-1, kinds=("step", "log")),
            ops.Settle(worker=ada, ends=((-1, how),)),
            ops.Ask(job=f"one/{one}", what=What.RETRY),
            ops.Read(jobs=(f"one/{one}",)),
            ops.Claim(worker=bob),
            ops.Jot(worker=bob, nth=-1, kinds=("step", "progress")),
        )


def _papers() -> Iterator[Scene]:
    """Remove a control document, and write it again."""
    for name, stale in product("xy", (False, True)):
        yield (
            ops.Put(name=name, text="new"),
            ops.Put(name=name, text=None),
            ops.Put(name=name, text="newer", stale=stale),
            ops.Put(name=name, text="newest"),
            ops.Put(name=name, text=None, stale=not stale),
        )


def _two_parents() -> Iterator[Scene]:
    """Let a job wait for two others, of which one ends long before the other."""
    for how, (one, two), nth in product(_ENDS, _pairs("w")[:2], (0, 1)):
        child = NewJob(id="w3", after=(f"one/{one}", f"one/{two}"), run_anyway=how is How.GIVE_UP)
        yield (
            ops.Enqueue((NewJob(id=one), NewJob(id=two), child)),
            ops.Claim(worker="bob", limit=100),
            ops.Settle(worker="bob", ends=((nth, how),)),
            ops.Sweep(),
            ops.Settle(worker="bob", ends=((0, How.SUCCEED),)),
            ops.Sweep(),
            ops.Claim(worker="bob", limit=100),
        )


def _restarts() -> Iterator[Scene]:
    """Restart the server while something stands that nobody has told it in this life."""
    for (one, two), (ada, bob) in product(_pairs("u"), _TWO):
        jobs = ops.Enqueue((NewJob(id=one, key="slot"), NewJob(id=two, key="slot", unique="k")))
        claim, again = ops.Claim(worker=ada), ops.Claim(worker=bob, limit=100)
        end = ops.Settle(worker=ada, ends=((0, How.RETURN),))
        yield (jobs, claim, ops.Restart(), end, again)
        yield (jobs, ops.Pause("one", True), ops.Restart(), again, ops.Pause("one", False))
        yield (ops.LimitKey("slot", 1), jobs, claim, ops.Restart(), again)
        yield (jobs, claim, ops.Jot(worker=ada), ops.Restart(), ops.Jot(worker=ada), end)
        yield (ops.Put(name="x", text="new"), ops.Restart(), ops.Put(name="x", text="newer"))
        yield (jobs, claim, end, ops.Restart(), jobs, ops.Read(jobs=(f"one/{one}",)))
