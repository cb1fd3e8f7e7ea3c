"""Storing many jobs at once, where nothing but its id can keep a job from being stored.

A statement that inserts one row opens the table and all its indexes for it, and takes Python's own
lock again afterwards. So jobs that are alike but for id and payload make a lot: SQLite itself makes
their rows, from a JSON text of their ids and from their payloads in one piece; and the lot has one
encoded body.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from itertools import accumulate, count, groupby
from operator import attrgetter
from typing import Any, Final

import msgspec

from treadle.broker.base import BrokerBase
from treadle.broker.sqlite.rows import stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import DAMAGED, Transaction
from treadle.domain.head import instant
from treadle.domain.job import NOW, Job
from treadle.domain.state import Event, State

_SQL: Final = load("bulk")
MOST_BYTES: Final = BrokerBase.max_record // 2
"""So many bytes a payload may have."""
_WORTH_A_LOT: Final = 4
"""With fewer jobs a lot, rows of their own are quicker."""
_MOST_IN_ONE_PIECE: Final = 16 * 1024 * 1024
_LENGTH_BITS: Final = 24
"""`add_lot_specs` finds a payload by one number: its place, and its length in so many bits."""
_encode: Final = msgspec.json.Encoder().encode
_likeness = attrgetter(
    *("type", "queue", "priority", "policy", "due", "expires"),
    *("unique", "key", "after", "run_anyway", "meta"),
)


class _Lot:
    """Jobs that are alike but for id and payload."""

    __slots__ = ("body", "due", "expires", "ids", "key", "name", "payloads", "prio", "queue")

    def __init__(self, tx: Transaction, job: Job) -> None:
        self.name = job.queue
        self.queue = tx.names.queue(job.queue)
        self.prio = int(job.priority)
        self.due = tx.now if job.due is NOW else stored(instant(job.due, tx.now))
        self.expires = 0 if job.expires is None else stored(instant(job.expires, tx.now))
        self.key = job.key or None
        self.body = tx.codec.encode(job)
        self.ids: dict[int, str] = {}
        """By sequence number."""
        self.payloads: list[bytes] = []
        """In the order of the ids."""


def store_plain(tx: Transaction, jobs: Sequence[Job]) -> bool:
    """Store all jobs, and tell so; if any of them needs a closer look, store none."""
    if len(jobs) == 1:
        return _store_one(tx, jobs[0])
    if any(_has_limit(tx, name) for name in {job.queue for job in jobs}):
        return False
    lots = _lots(tx, jobs)
    if lots is None or not _add_heads(tx, lots, len(jobs)):
        return False
    for lot in lots:
        _add_specs(tx, lot)
        tx.ring(lot.name, lot.due)
    _count(tx, jobs)
    return True


def _store_one(tx: Transaction, job: Job) -> bool:
    if job.unique is not None or job.after:
        return False
    lot = _Lot(tx, job)
    if _is_too_large(len(job.payload), lot):
        return False
    values = {
        "id": job.id,
        "queue": lot.queue,
        "prio": lot.prio,
        "due": lot.due,
        "expires": lot.expires,
        "now": tx.now,
        "ckey": lot.key,
        "plausible": DAMAGED - 1,
    }
    row = tx.one(_SQL["add_one"], values)
    if row is None:
        return False
    seq, fence = row
    tx.gave(fence)
    tx.run(_SQL["add_spec"], (seq, lot.body, job.payload))
    tx.ring(lot.name, lot.due)
    _count(tx, (job,))
    return True


def _lots(tx: Transaction, jobs: Sequence[Job]) -> Sequence[_Lot] | None:
    """Sort jobs into lots; None if one of them may be refused for more than its id."""
    lots: dict[tuple[int, ...], _Lot] = {}
    seq = tx.next_seq()
    for like, group in groupby(jobs, _likeness):
        some = list(group)
        job = some[0]
        if job.unique is not None or job.after:
            return None
        # Jobs of one handler hold the same objects, which are quicker to compare than their values.
        same = tuple(map(id, like))
        lot = lots.get(same)
        if lot is None:
            lot = lots[same] = _Lot(tx, job)
        lot.ids.update(zip(count(seq), [job.id for job in some]))
        lot.payloads += [job.payload for job in some]
        seq += len(some)
    for lot in lots.values():
        if _is_too_large(max(map(len, lot.payloads)), lot):
            return None
    return list(lots.values())


def _is_too_large(payload: int, lot: _Lot) -> bool:
    return payload > MOST_BYTES or payload + len(lot.body) > BrokerBase.max_record


def _add_heads(tx: Transaction, lots: Sequence[_Lot], jobs: int) -> bool:
    """Insert the rows of all lots, and tell so; or none of them if one is there already."""
    by_lot = jobs >= _WORTH_A_LOT * len(lots) and _has_json()
    raw = tx.connection.raw
    raw.execute("SAVEPOINT bulk")
    is_added = (_add_lots(tx, lots) if by_lot else _add_rows(tx, lots)) == jobs
    if not is_added:
        raw.execute("ROLLBACK TO bulk")
    raw.execute("RELEASE bulk")
    return is_added


def _add_lots(tx: Transaction, lots: Iterable[_Lot]) -> int:
    added, fence = 0, tx.first_fence()
    for lot in lots:
        ids = _encode(lot.ids)
        if b"\\u0000" in ids:  # SQLite's JSON ends a text there: one by one they are kept whole
            return 0
        values = {
            "ids": ids,
            "queue": lot.queue,
            "prio": lot.prio,
            "fence": fence,
            "due": lot.due,
            "expires": lot.expires,
            "now": tx.now,
            "ckey": lot.key,
        }
        added += tx.run(_SQL["add_lot"], values)
    return added


def _add_rows(tx: Transaction, lots: Iterable[_Lot]) -> int:
    rows: list[tuple[object, ...]] = []
    fence = tx.first_fence()
    for lot in lots:
        shared = (lot.queue, lot.prio, fence, lot.due, lot.expires, tx.now, lot.key)
        rows += [(*named, *shared) for named in lot.ids.items()]
    return tx.many(_SQL["add_plain"], rows)


def _add_specs(tx: Transaction, lot: _Lot) -> None:
    """Insert body and payload of each job of a lot."""
    sizes = list(map(len, lot.payloads))
    whole = sum(sizes)
    if len(sizes) < _WORTH_A_LOT or not 0 < whole <= _MOST_IN_ONE_PIECE or not _has_json():
        rows = zip(lot.ids, lot.payloads, strict=True)
        tx.many(_SQL["add_spec"], [(seq, lot.body, payload) for seq, payload in rows])
        return
    places = zip(lot.ids, accumulate(sizes, initial=1), sizes)  # noqa: B905 - one place too many
    values = {
        "body": lot.body,
        "payloads": b"".join(lot.payloads),
        "places": _encode({seq: place << _LENGTH_BITS | size for seq, place, size in places}),
    }
    tx.run(_SQL["add_lot_specs"], values)


def _count(tx: Transaction, jobs: Sequence[Job]) -> None:
    """Count and log jobs that were stored."""
    ids: dict[str, list[str]] = {}
    for job in jobs:
        listed = ids.get(job.queue)
        if listed is None:
            listed = ids[job.queue] = []
        listed.append(job.id)
    for queue, listed in ids.items():
        tx.tally(tx.names.queue(queue))[State.WAITING] += len(listed)
        tx.log(Event.ENQUEUE, queue, State.WAITING, listed)


def _has_limit(tx: Transaction, name: str) -> bool:
    queue = tx.names.known_queue(name)
    row: tuple[Any, ...] | None = None if queue is None else tx.one(_SQL["limit"], (queue,))
    return row is not None and row[0] is not None


@cache
def _has_json() -> bool:
    """Tell whether SQLite reads JSON from bytes.

    Before 3.38 it was left to the builder whether it has JSON at all, and 3.45.0 refuses bytes.
    """
    with closing(sqlite3.connect(":memory:")) as probe:
        try:
            probe.execute("SELECT key FROM json_each(?)", (b"[]",))
        except sqlite3.OperationalError:
            return False
    return True
