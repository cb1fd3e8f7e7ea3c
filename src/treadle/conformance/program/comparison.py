"""What two brokers did with one program, compared.

On each broker the program runs on its own, and each answer is judged by a model. Then the answers
are compared with those of the first one: states, attempts, fences, results, reasons, history,
counts, and the order of claims. Fences are counted from the first one of each life of a job, which
is the store's own. Two answers may differ only where the protocol leaves freedom; from there on the
brokers may go different ways, and the comparison of that program ends.

Real time is no such freedom, it only has to be the same: where it runs by itself a lease may end
between two calls. So a broker whose time runs goes first, and the clocks of those it is compared
with are led through the instants that it named. Two brokers whose time runs cannot lead each other:
each is compared with one that it leads.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from treadle.broker.values import (
    Applied,
    Claimed,
    Conflict,
    Document,
    Duplicate,
    Enqueued,
    Events,
    Lease,
    Notes,
    Opened,
    Overdue,
    Page,
    Pulse,
    SessionInfo,
    Settled,
    Stats,
    Turned,
)
from treadle.conformance.model import calls
from treadle.conformance.model.showing import sequence
from treadle.conformance.program.ops import Op
from treadle.conformance.program.trial import (
    REAL,
    STEP_LIMIT_S,
    Exchange,
    Show,
    Tempo,
    try_program,
)
from treadle.conformance.subject import Subject
from treadle.domain.job import Head, HistoryRow, Job, Record, Ref
from treadle.domain.outcome import Refused, Removal, Write
from treadle.errors import TreadleError


class Divergence(AssertionError):
    """Two brokers did different things, and the protocol leaves no freedom there."""

    def __init__(self, call: object, one: str, other: str, answers: tuple[object, object]) -> None:
        super().__init__(
            f"asked:    {call!r:.1500}\n{one}:\n          {answers[0]!r:.3000}\n"
            f"{other}:\n          {answers[1]!r:.3000}"
        )


class Names:
    """Calls sessions and fences of one broker by their numbers, so that brokers can be compared."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {"": ""}
        self._begins: dict[Ref, int] = {}
        """From where the fences of a job are counted."""
        self._created: dict[Ref, int | None] = {}
        """When the life began in which they are; None: no record of it was seen yet."""

    def number(self, session: str) -> str:
        """Return the number of a session, in the order in which they were met."""
        return self._numbers.setdefault(session, f"session {len(self._numbers)}")

    def fence(self, ref: Ref, fence: int) -> int:
        """Return how far a fence of a job is from where they began; -1 for those of earlier lives."""
        return max(fence - self._begins.get(ref, 0), -1)

    def begin(self, ref: Ref, fence: int) -> None:
        """Count the fences of a job from the one under which it was stored."""
        self._begins[ref], self._created[ref] = fence, None

    def see(self, record: Record) -> None:
        """Count the fences of a job from where a life of it is first seen that was not told of."""
        ref = record.ref
        if record.forgotten:
            return
        if self._created.get(ref, -1) not in (None, record.created):
            self._begins[ref] = record.head.fence
        self._created[ref] = record.created

    def miss(self, ref: Ref) -> None:
        """Note that the record of a job has gone: another one is another life."""
        self._created.pop(ref, None)


async def compare_program(
    subjects: Sequence[Subject],
    program: Sequence[Op],
    step_limit_s: float = STEP_LIMIT_S,
    show: Show | None = None,
) -> None:
    """Run one program on all subjects, and compare what each of them did with the first.

    Raises:
        Divergence: if two of them differ where the protocol leaves no freedom.
        Disagreement: if one of them answered what the protocol does not allow.
    """
    tempo = await _common_tempo(subjects)
    for group in _groups(subjects):
        played: dict[Subject, list[Exchange]] = {}
        lead: list[int] = []
        for subject in sorted(group, key=lambda one: bool(one.movable)):
            try:
                played[subject] = await try_program(
                    subject, program, step_limit_s, show, tempo, lead
                )
            except AssertionError as error:
                error.add_note(f"on {subject}")
                raise
            if not subject.movable:
                lead = [one.at for one in played[subject]]
        for subject in group[1:]:
            compare_exchanges(str(group[0]), played[group[0]], str(subject), played[subject])


def _groups(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Return who is compared with whom: each whose time runs with those that it leads."""
    led = [subject for subject in subjects if subject.movable]
    leaders = [subject for subject in subjects if not subject.movable]
    if not leaders or len(subjects) == 1:
        return [list(subjects)]
    led = led or [Subject("memory://", movable=True)]
    return [[*led, leaders[0]], *([led[0], leader] for leader in leaders[1:])]


async def _common_tempo(subjects: Sequence[Subject]) -> Tempo | None:
    """Return the tempo of all if any of them really has to be waited for."""
    if len(subjects) == 1:
        return None
    for subject in subjects:
        if subject.movable is None:
            async with subject.place() as place:
                subject.movable = place.movable
    return None if all(subject.movable for subject in subjects) else REAL


def compare_exchanges(
    one: str, mine: Sequence[Exchange], other: str, theirs: Sequence[Exchange]
) -> None:
    """Compare what two brokers answered, up to the first answer that may differ and does.

    Raises:
        Divergence: if an answer differs that may not.
    """
    my_names, their_names = Names(), Names()
    for here, there in zip(mine, theirs, strict=False):
        answers = (_seen(here, my_names), _seen(there, their_names))
        if type(here.call) is type(there.call) and here.op == there.op and answers[0] == answers[1]:
            continue
        if here.is_free or there.is_free:
            return
        raise Divergence(here.call, one, other, answers)


def _seen(exchange: Exchange, names: Names) -> object:
    """Return what was answered, and what was read afterwards about what an answer does not show."""
    answer = _answer(exchange.call, exchange.answer, names)
    # What is only remembered may be forgotten by then: the time of a later look is not the call's.
    stored = [None if one is None or one.forgotten else one for one in exchange.after]
    after = [outcome(record, names) for record in stored]
    return (answer, after) if after else answer


def _answer(call: calls.Call, answer: object, names: Names) -> object:
    """Return what can be compared of an answer that counts fences of jobs named in its call."""
    match call, answer:
        case calls.Enqueue(jobs), Enqueued(results=results):
            return [_stored(job, one, names) for job, one in zip(jobs, results, strict=True)]
        case calls.Apply(writes), Settled(results=results):
            return _written(writes, results, names)
        case calls.Turn(writes=writes), Turned(results=results, records=records):
            return [*_written(writes, results, names), *(_record(one, names) for one in records)]
        case calls.ReadNotes(ref), Notes(progress=progress, log=log, steps=steps):
            lines = [(names.fence(ref, fence), text) for fence, _, text in log]
            return (progress, lines, sorted(steps))
        case _:
            return outcome(answer, names)


def _stored(job: Job, result: object, names: Names) -> object:
    if isinstance(result, Applied):
        names.begin(Ref(job.queue, job.id), result.fence)
        return structs.replace(result, fence=0)
    return outcome(result, names)


def _written(writes: Sequence[Write], results: Sequence[object], names: Names) -> list[object]:
    return [_wrote(write, one, names) for write, one in zip(writes, results, strict=True)]


def _wrote(write: Write, result: object, names: Names) -> object:
    if not isinstance(result, Applied):
        return outcome(result, names)
    ref = Ref(write.queue, write.id)
    if isinstance(write, Removal):
        names.miss(ref)
    return structs.replace(result, fence=names.fence(ref, result.fence))


def outcome(answer: object, names: Names) -> object:
    """Return what can be compared of an answer: without instants, cursors and names of sessions."""
    match answer:
        case Record():
            return _record(answer, names)
        case Claimed(records=records) | Overdue(records=records) | Page(records=records):
            shown = [_record(record, names) for record in records]
            return sorted(shown, key=repr) if isinstance(answer, Overdue) else shown
        case Enqueued(results=results) | Settled(results=results):
            return [outcome(result, names) for result in results]
        case Turned(results=results, records=records):
            return [outcome(one, names) for one in (*results, *records)]
        case Duplicate(record=record) | Conflict(record=record):
            return (type(answer).__name__, outcome(record, names))
        case Refused(code=code):
            return code
        case Opened(session=session, inherited=inherited):
            return (
                names.number(session),
                sorted((_record(one, names) for one in inherited), key=repr),
            )
        case Pulse(lost=lost, orphans=orphans, cancels=cancels):
            held = sorted((_record(one, names) for one in orphans), key=repr)
            return (_leases(lost, names), held, _leases(cancels, names))
        case TreadleError():
            return type(answer).__name__
        case _:
            return _rest(answer, names)


def _all(answer: Sequence[object], names: Names) -> list[object]:
    if answer and isinstance(answer[0], SessionInfo | tuple):
        return sorted((outcome(one, names) for one in answer), key=repr)
    return [outcome(one, names) for one in answer]


def _rest(answer: object, names: Names) -> object:
    parts = sequence(answer)
    if parts is not None:
        return _all(parts, names)
    match answer:
        case Stats(queues=queues):
            counted = [structs.replace(queue, oldest_due=None, later=0) for queue in queues]
            return [one for one in counted if any(structs.astuple(one)[1:])]
        case SessionInfo(session=session):
            return (names.number(session), answer.name, answer.lease_ms, answer.running)
        case Document(name=name, data=data):
            return (name, data)
        case Events():
            return None  # hints: their number and their cursors are each broker's own
        case _:
            return answer


def _leases(leases: Sequence[Lease], names: Names) -> list[object]:
    held = [(Ref(lease.queue, lease.id), lease.fence) for lease in leases]
    return [(ref, names.fence(ref, fence)) for ref, fence in held]


def _record(record: Record, names: Names) -> object:
    names.see(record)
    head = structs.replace(record.head, fence=names.fence(record.ref, record.head.fence))
    if record.forgotten:
        return (record.ref, head.state, head.fence)
    payload = record.job.payload
    return (
        structs.replace(record.job, payload=b"") if payload == b"{}" else record.job,
        _without_instants(head, names),
        record.result,
        [_row(row, record.ref, names) for row in record.history],
        sorted(record.edges),
    )


def _without_instants(head: Head, names: Names) -> Struct:
    return structs.replace(
        head,
        due=0,
        expires=bool(head.expires),
        parked=bool(head.parked),
        claimed=bool(head.claimed),
        finished=bool(head.finished),
        session=names.number(head.session),
    )


def _row(row: HistoryRow, ref: Ref, names: Names) -> Struct:
    fence = names.fence(ref, row.fence)
    return structs.replace(row, fence=fence, at=0, claimed=0, session=names.number(row.session))
