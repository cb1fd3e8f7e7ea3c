"""What `get`, `notes`, `note`, `stats` and `purge` may answer."""

from __future__ import annotations

from collections import Counter
from typing import assert_never

from treadle.broker.values import (
    Conflict,
    LogLine,
    Note,
    Noted,
    Notes,
    Progress,
    QueueStats,
    Stats,
    Step,
)
from treadle.conformance.model import calls, living
from treadle.conformance.model.claiming import After
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import (
    check_complete,
    check_memory,
    check_standing,
    expect,
    expect_each,
)
from treadle.conformance.model.stock import Kept, Stock
from treadle.conformance.model.when import When
from treadle.domain.job import Record, Ref
from treadle.domain.limits import LOG_LINES
from treadle.domain.state import FINAL, State

_GET = "Return each job with payload, result, history and edges; None if it is unknown"
_NOTE = "Write what a running attempt has to say, if the record runs under the lease's fence"
_STEP = (
    "A step is inserted if its name is absent; if it is there, `existing` is what was written first"
)
_NOTES = "Return what handlers noted about a job; empty if it is unknown"
_PURGE = "Drop up to `limit` final records past their retention; return how many were dropped"
_STATS = "Return the counts of every queue: exact at rest, except `later`"
LATER_MS = 1_000
"""How old `later` may be."""


def judge_get(stock: Stock, call: calls.Get, answer: object, when: When) -> None:
    """Compare each record with what must be stored."""
    records = expect_each(answer, len(call.refs), _GET)
    for ref, record in zip(call.refs, records, strict=True):
        if ref.queue:
            check_standing(stock, ref, record, when, _GET)
        else:
            _check_anywhere(stock, ref.id, record, when)


def _check_anywhere(stock: Stock, id: str, record: object, when: When) -> None:
    """Ask every queue, as the queue "" does; a record comes before a memory."""
    kept = [one for ref, one in stock.records.items() if ref.id == id]
    memories = [stock.memory(ref, when) for ref in stock.memories if ref.id == id]
    stock.is_free |= len(kept) + len(memories) > 1
    if record is None:
        if kept or any(memory is not None and certain for memory, certain in memories):
            raise Refuted(None, f"the job {id} of any queue", _GET)
        return
    shown = expect(record, Record, _GET)
    if kept:
        check_complete(next((k for k in kept if k.ref == shown.ref), kept[0]), shown, _GET)
        return
    found = [memory for memory, _ in memories if memory is not None and memory.ref == shown.ref]
    if not found:
        raise Refuted(record, None, _GET)
    check_memory(found[0], shown, _GET)


def judge_note(stock: Stock, call: calls.TakeNotes, answer: object, when: When) -> None:
    """Compare the results of notes, and keep what was written."""
    results = expect_each(answer, len(call.items), "Results stand in the order of what was asked")
    for note, result in zip(call.items, results, strict=True):
        ref = Ref(note.lease.queue, note.lease.id)
        kept = stock.records.get(ref)
        runs = kept is not None and kept.head.state is State.RUNNING
        is_own = kept is not None and kept.head.session == call.session
        stock.is_free |= not is_own  # the lease is of an earlier life of that id: it may be refused
        if (
            kept is None
            or not runs
            or kept.head.fence != note.lease.fence
            or (not is_own and isinstance(result, Conflict))
        ):
            conflict = expect(result, Conflict, _NOTE)
            check_standing(stock, ref, conflict.record, when, _NOTE)
            continue
        noted = expect(result, Noted, _NOTE)
        existing = _write(kept, note)
        if noted.existing != existing:
            raise Refuted(noted, f"existing={existing!r}", _STEP)


def _write(kept: Kept, note: Note) -> bytes | None:
    match note:
        case Step(name=name, data=data):
            existing = kept.steps.get(name)
            kept.steps = {name: data, **kept.steps}
            return existing
        case Progress(data=data):
            kept.progress = data
        case LogLine(lease=lease, at=at, text=text):
            kept.lines = [*kept.lines, (lease.fence, at, text)][-LOG_LINES:]
        case _:
            assert_never(note)
    return None


def judge_notes(stock: Stock, call: calls.ReadNotes, answer: object) -> None:
    """Compare what was noted about a job; steps may stand in any order."""
    notes = expect(answer, Notes, _NOTES)
    kept = stock.records.get(call.ref)
    wanted = Notes()
    if kept is not None:
        lines, steps = tuple(kept.lines), tuple(sorted(kept.steps.items()))
        wanted = Notes(progress=kept.progress, log=lines, steps=steps)
    shown = (notes.progress, tuple(notes.log), tuple(sorted(notes.steps)))
    if shown != (wanted.progress, wanted.log, wanted.steps):
        raise Refuted(notes, wanted, _NOTES)


def judge_purge(stock: Stock, call: calls.Purge, answer: object, when: When, after: After) -> None:
    """Check that what is gone could go, and that all that had to go went."""
    count = expect(answer, int, _PURGE)
    must, may = purgeable(stock, when)
    gone = [kept for kept in may if _is_gone(after.get(kept.ref))]
    if count != len(gone) or count > max(call.limit, 0):
        raise Refuted(
            f"{count}, and {[k.ref for k in gone]} are gone", f"{[k.ref for k in may]}", _PURGE
        )
    stock.is_free |= len(may) > call.limit or len(may) != len(must)
    left = [kept.ref for kept in must if kept not in gone]
    if left and count < call.limit:
        raise Refuted(f"{left} are still there", f"{[kept.ref for kept in must]} go", _PURGE)
    for kept in gone:
        stock.remove(kept, kept.head.finished + kept.job.policy.remember_ms, when)
    living.forget_long_ago(stock, when)


def purgeable(stock: Stock, when: When) -> tuple[list[Kept], list[Kept]]:
    """Return the final records that are past their retention: surely, and perhaps."""
    over = [(kept, when.reached(kept.head.due, kept.fuzz)) for kept in stock.in_state(*FINAL)]
    return [k for k, is_over in over if is_over], [k for k, is_over in over if is_over is not False]


def _is_gone(record: Record | None) -> bool:
    return record is None or record.forgotten


def judge_stats(stock: Stock, answer: object, when: When, slack_ms: int) -> None:
    """Compare the counts of each queue; one that is not listed has none."""
    stats = expect(answer, Stats, _STATS)
    when = when.narrowed(stats.now, slack_ms)
    listed = {queue.queue: queue for queue in stats.queues}
    if len(listed) != len(stats.queues):
        raise Refuted(stats, "each queue once", _STATS)
    names = {kept.ref.queue for kept in stock.records.values()}
    for name in sorted(names | set(listed) | stock.paused):
        _check_counts(stock, listed.get(name, QueueStats(queue=name)), when)


def _check_counts(stock: Stock, shown: QueueStats, when: When) -> None:
    inside = [kept for kept in stock.records.values() if kept.ref.queue == shown.queue]
    count = Counter(kept.head.state for kept in inside)
    for state in State:
        if getattr(shown, state.name.lower()) != count[state]:
            raise Refuted(shown, f"{state.name.lower()}={count[state]}", _STATS)
    if shown.paused != (shown.queue in stock.paused):
        raise Refuted(shown, f"paused={shown.queue in stock.paused}", _STATS)
    waiting = [kept for kept in inside if kept.head.state is State.WAITING]
    if not shown.later_is_estimate:
        later = [kept for kept in waiting if when.reached(kept.head.due, kept.fuzz) is False]
        recent = When(when.low - LATER_MS, when.high)
        may = [kept for kept in waiting if recent.reached(kept.head.due, kept.fuzz) is not True]
        if not len(later) <= shown.later <= len(may):
            raise Refuted(shown, f"{len(later)} <= later <= {len(may)}", _STATS)
    _check_oldest(shown, waiting, when)


def _check_oldest(shown: QueueStats, waiting: list[Kept], when: When) -> None:
    surely = [k for k in waiting if when.reached(k.head.due, k.fuzz)]
    latest = min((k.head.due + k.fuzz for k in surely), default=None)
    perhaps = [k for k in waiting if when.reached(k.head.due, k.fuzz) is not False]
    oldest = shown.oldest_due
    sentence = "oldest_due: when the job that waits longest could first have been claimed"
    if oldest is None:
        if surely:
            raise Refuted(shown, f"oldest_due={latest}", sentence)
        return
    near = any(abs(kept.head.due - oldest) <= kept.fuzz for kept in perhaps)
    if not near or (latest is not None and oldest > latest):
        raise Refuted(shown, f"oldest_due={latest}", sentence)
