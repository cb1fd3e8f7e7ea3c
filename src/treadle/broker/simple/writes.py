"""What becomes of a job that shall be stored, and of a write that a decision asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import structs

from treadle.broker.simple import keys
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.values import Past, Row
from treadle.broker.values import Applied, Conflict, Duplicate
from treadle.domain.head import accepts, replaced
from treadle.domain.job import Job, Record, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import CancelRequest, Change, RefusalCode, Refused, Removal, Write
from treadle.domain.state import FINAL, Event, State


class Desk:
    """Stores jobs and applies writes in one transaction."""

    def __init__(self, books: Books, shower: Shower, most_bytes: int) -> None:
        self._books = books
        self._show = shower
        self._most_bytes = most_bytes

    def store(self, jobs: Sequence[Job]) -> list[Applied | Duplicate | Refused]:
        """Store each job once, or say why not."""
        return [self._store(job) for job in jobs]

    def apply(self, write: Write) -> Applied | Conflict | Duplicate:
        """Apply a write whose fence matches; answer another one with what stands."""
        ref = Ref(write.queue, write.id)
        row = self._books.find_row(ref)
        if row is None or not accepts(row.head, write):
            return Conflict(record=self._show.standing(ref))
        match write:
            case Change():
                return self._change(row, write)
            case CancelRequest():
                row = structs.replace(row, head=structs.replace(row.head, cancel=True))
                self._books.keep(row)
                self._books.tell(row, Event.REQUEST_CANCEL)
            case Removal(remember_ms=remember_ms):
                self._books.tell(row, Event.DISCARD, gone=True)
                self._books.remove(row, self._books.now + remember_ms)
            case _:
                assert_never(write)
        return Applied(fence=row.head.fence)

    def _store(self, job: Job) -> Applied | Duplicate | Refused:
        objection = self._objection(job)
        if objection is not None:
            return objection
        return Applied(fence=self._books.insert(job).head.fence)

    def _objection(self, job: Job) -> Duplicate | Refused | None:
        """Say why a job cannot be stored; what is stored already comes before every limit."""
        known = self._show.standing(Ref(job.queue, job.id))
        if known is not None:
            return Duplicate(record=known)
        if len(job.payload) > self._most_bytes:
            return Refused(
                code=RefusalCode.TOO_LARGE,
                detail=f"job {job.id}: its payload has {len(job.payload)} bytes,"
                f" at most {self._most_bytes} fit",
            )
        for ref in job.after:
            if self._show.standing(ref) is None:
                return Refused(
                    code=RefusalCode.UNKNOWN_PARENT,
                    detail=f"job {job.id} shall run after {ref.id} of queue {ref.queue},"
                    " which is unknown",
                )
        holder = self._holder(job)
        if holder is not None:
            return Duplicate(record=holder)
        queue = self._books.known_queue(job.queue)
        if queue is None or queue.limit is None or queue.counts[State.WAITING] < queue.limit:
            return None
        return Refused(
            code=RefusalCode.QUEUE_FULL,
            detail=f"job {job.id}: {queue.counts[State.WAITING]} jobs wait in queue {queue.name},"
            f" its limit is {queue.limit}",
        )

    def _change(self, row: Row, change: Change) -> Applied | Duplicate:
        books = self._books
        if change.fresh or change.job is not None:
            taken = self._take_body_and_key(row, change)
            if isinstance(taken, Duplicate):
                return taken
            row = taken
        if change.edges is not None:
            books.tie(row, row.edges, change.edges)
            row = structs.replace(row, edges=change.edges)
        self._write_past(row, change)
        head = replaced(row.head, change, books.now)
        if head.state is State.BLOCKED and any(map(books.is_final, row.edges)):
            # It ended while the decision was made; nobody else would look again before `due`.
            head = structs.replace(head, due=books.now)
        books.move(row, head, change.event)
        for job in change.follow_ups:
            if self._show.standing(Ref(job.queue, job.id)) is None and not books.key_holder(job):
                books.insert(job)
        has_children = head.state in FINAL and books.look_at_children(row.ref)
        return Applied(fence=head.fence, children=has_children)

    def _write_past(self, row: Row, change: Change) -> None:
        past = self._books.past(row.ref)
        history = past.history
        if change.history is not None:
            history = (*history, change.history)[-HISTORY_ROWS:]
        now = Past(result=change.result, history=history)
        if now != past:
            self._books.write(now, keys.PAST, *row.ref_parts)

    def _take_body_and_key(self, row: Row, change: Change) -> Row | Duplicate:
        """Give the row its new body and its unique key, or return who holds that key."""
        job = change.job
        unique = row.unique if job is None else job.unique
        named = Job(id=row.ref.id, type="", queue=row.ref.queue, unique=unique)
        holder = self._holder(named)
        if holder is not None:
            return Duplicate(record=holder)
        if row.unique is not None:
            self._books.drop_key(row.ref, row.unique.key)
        if job is not None:
            row = self._with_body(row, structs.replace(job, queue=row.ref.queue, id=row.ref.id))
        self._books.take_key(row)
        return row

    def _with_body(self, row: Row, job: Job) -> Row:
        self._books.write_body(job)
        self._books.drop(*row.place)  # a new body is given to waiting jobs only
        row = structs.replace(
            row,
            priority=job.priority,
            remember_ms=job.policy.remember_ms,
            key=job.key,
            unique=job.unique,
        )
        self._books.write(row.ref, *row.place)
        return row

    def _holder(self, job: Job) -> Record | None:
        holder = self._books.key_holder(job)
        return None if holder is None else self._show.standing(holder)
