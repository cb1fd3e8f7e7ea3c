"""What handlers note about a job: steps, progress, log lines."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from treadle.broker.simple import keys
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.sessions import is_run_by
from treadle.broker.values import Conflict, LogLine, Note, Noted, Notes, Progress, Step
from treadle.domain.job import Ref
from treadle.domain.limits import LOG_LINES


class Line(Struct, frozen=True):
    """A log line: its number in the job, the fence of the attempt, the instant, the text."""

    number: int
    fence: int
    at: int
    text: str


def write(books: Books, shower: Shower, session: str, note: Note) -> Noted | Conflict:
    """Write a note if the session runs the job under the lease's fence; a step that is there stays."""
    ref = Ref(note.lease.queue, note.lease.id)
    if not is_run_by(books.find_row(ref), session, note.lease.fence):
        return Conflict(record=shower.standing(ref))
    match note:
        case Step(name=name, data=data):
            existing = books.read(tuple[int, str, bytes], keys.STEP, *_of(ref), name)
            if existing is not None:
                return Noted(existing=existing[2])
            books.counters.turn += 1
            books.write((books.counters.turn, name, data), keys.STEP, *_of(ref), name)
        case Progress(data=data):
            books.write(data, keys.PROGRESS, *_of(ref))
        case LogLine(lease=lease, at=at, text=text):
            last = next(books.walk(Line, keys.LOG, *_of(ref), after=None, reverse=True), None)
            number = 0 if last is None else last.number + 1
            books.write(Line(number, lease.fence, at, text), keys.LOG, *_of(ref), number)
            books.drop(keys.LOG, *_of(ref), number - LOG_LINES)
        case _:
            assert_never(note)
    return Noted()


def read(books: Books, ref: Ref) -> Notes:
    """Return everything that was noted about a job."""
    names = [ref.queue] if ref.queue else books.queue_names()
    for name in names:
        found = _read(books, Ref(name, ref.id))
        if found != Notes():
            return found
    return Notes()


def _read(books: Books, ref: Ref) -> Notes:
    steps = sorted(books.first(tuple[int, str, bytes], keys.STEP, *_of(ref)))
    lines = books.first(Line, keys.LOG, *_of(ref))
    return Notes(
        progress=books.read(bytes, keys.PROGRESS, *_of(ref)),
        log=tuple((line.fence, line.at, line.text) for line in lines),
        steps=tuple((name, data) for _, name, data in steps),
    )


def _of(ref: Ref) -> tuple[str, str]:
    return ref.queue, ref.id
