"""How stored rows are shown: as much of a record as each operation promises, and no more."""

from __future__ import annotations

from treadle.broker.simple import keys
from treadle.broker.simple.books import Books
from treadle.broker.simple.values import Memory, Row
from treadle.domain.codec import Codec
from treadle.domain.job import Fault, Head, Job, Record, Ref


class Shower:
    """Shows the rows of one transaction."""

    def __init__(self, books: Books, codec: Codec) -> None:
        self._books = books
        self._codec = codec

    def running(self, row: Row) -> Record:
        """Show what a worker needs: job and head."""
        job, fault = self._codec.job(
            queue=row.ref.queue,
            id=row.ref.id,
            priority=row.priority,
            body=self._books.body(row.ref),
            payload=self._books.payload(row.ref),
        )
        return Record(job=job, head=row.head, created=row.created, fault=fault)

    def undecided(self, row: Row) -> Record:
        """Show what is needed to decide: job without payload, head, edges."""
        job, fault = self._bare(row)
        return Record(job=job, head=row.head, created=row.created, edges=row.edges, fault=fault)

    def listed(self, row: Row) -> Record:
        """Show the head, without payload, result and history."""
        job, fault = self._bare(row)
        return Record(job=job, head=row.head, created=row.created, fault=fault)

    def complete(self, row: Row) -> Record:
        """Show everything."""
        shown, past = self.running(row), self._books.past(row.ref)
        return Record(
            job=shown.job,
            head=row.head,
            created=row.created,
            result=past.result,
            history=past.history,
            edges=row.edges,
            fault=shown.fault,
        )

    def standing(self, ref: Ref) -> Record | None:
        """Show all that is known of a job: its record, what is remembered of it, or nothing."""
        row = self._books.find_row(ref)
        if row is not None:
            return self.complete(row)
        memory = self._books.read(Memory, keys.MEMORY, ref.queue, ref.id)
        if memory is None or memory.until <= self._books.now:
            return None
        head = Head(state=memory.state, fence=memory.fence, due=memory.until)
        job = Job(id=ref.id, type="", queue=ref.queue)
        return Record(job=job, head=head, created=0, forgotten=True)

    def _bare(self, row: Row) -> tuple[Job, Fault | None]:
        body = self._books.body(row.ref)
        queue, job_id = row.ref_parts
        return self._codec.job(
            queue=queue, id=job_id, priority=row.priority, body=body, payload=b""
        )
