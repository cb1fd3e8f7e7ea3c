"""How much of a record each operation must show, and how it is compared with what must be stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from msgspec import structs

from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.stock import Kept, Memory, Stock
from treadle.conformance.model.when import When
from treadle.domain.job import Head, Record, Ref

T = TypeVar("T")

_INSTANTS = ("due", "expires", "claimed", "finished")


def expect(answer: object, kind: type[T], sentence: str) -> T:
    """Insist on the type of an answer."""
    if not isinstance(answer, kind):
        raise Refuted(answer, kind.__name__, sentence)
    return answer


def sequence(answer: object) -> Sequence[object] | None:
    """Return a list or tuple as what it is; None for anything else."""
    if isinstance(answer, list | tuple):
        return cast("Sequence[object]", answer)
    return None


def expect_each(answer: object, count: int, sentence: str) -> Sequence[object]:
    """Insist on one answer for each thing that was asked."""
    found = sequence(answer)
    if found is None or len(found) != count:
        raise Refuted(answer, f"{count} results", sentence)
    return found


def expect_several(answer: object, sentence: str) -> Sequence[object]:
    """Insist on a list of answers, however many."""
    found = sequence(answer)
    if found is None:
        raise Refuted(answer, "a list", sentence)
    return found


def is_same_head(kept: Kept, head: Head) -> bool:
    """Compare a head with the one that must be stored; instants as exactly as they are known."""
    if head == kept.head:
        return True
    if not kept.fuzz:
        return False
    for name in _INSTANTS:
        wanted, found = getattr(kept.head, name), getattr(head, name)
        if abs(wanted - found) > kept.fuzz or bool(wanted) != bool(found):
            return False
    same = {name: getattr(head, name) for name in _INSTANTS}
    return structs.replace(kept.head, **same) == head


def check_head(kept: Kept, record: Record, sentence: str) -> None:
    """Compare job, head and creation; what a running clock left open is taken over."""
    job = record.job
    if job != kept.job and structs.replace(job, payload=kept.job.payload) != kept.job:
        raise Refuted(job, kept.job, sentence)
    if not is_same_head(kept, record.head):
        raise Refuted(_named(record), f"{kept.ref}: {kept.head}", sentence)
    if record.fault is not None or record.forgotten:
        raise Refuted(record, "a sound record", sentence)
    if abs(record.created - kept.created) > kept.fuzz:
        raise Refuted(f"created={record.created}", f"created={kept.created}", sentence)
    if kept.fuzz:
        kept.head, kept.created, kept.fuzz = record.head, record.created, 0


def check_complete(kept: Kept, answer: object, sentence: str) -> None:
    """Compare everything: payload, result, history and edges too."""
    record = expect(answer, Record, sentence)
    check_head(kept, record, sentence)
    if record.job.payload != kept.job.payload:
        raise Refuted(record.job.payload, kept.job.payload, sentence)
    if record.result != kept.result:
        raise Refuted(f"result={record.result!r}", f"result={kept.result!r}", sentence)
    if record.history != kept.history:
        raise Refuted(f"history={record.history}", f"history={kept.history}", sentence)
    if record.edges != kept.edges and set(record.edges) != set(kept.edges):
        raise Refuted(f"edges={record.edges}", f"edges={kept.edges}", sentence)


def check_bare(kept: Kept, record: Record, sentence: str) -> None:
    """Compare what is shown without its payload."""
    check_head(kept, record, sentence)
    if record.job.payload not in (b"", b"{}"):
        raise Refuted(f"payload={record.job.payload!r}", "no payload", sentence)


def check_undecided(kept: Kept, record: Record, sentence: str) -> None:
    """Compare what is shown to decide about: without payload, with edges."""
    check_bare(kept, record, sentence)
    if set(record.edges) != set(kept.edges):
        raise Refuted(f"edges={record.edges}", f"edges={kept.edges}", sentence)
    if not record.session_ended:
        raise Refuted("session_ended=False", "session_ended=True", sentence)


def check_standing(stock: Stock, ref: Ref, answer: object, when: When, sentence: str) -> None:
    """Compare with all that is known of an id: its record, a memory of it, or nothing."""
    kept = stock.records.get(ref)
    if kept is not None:
        check_complete(kept, answer, sentence)
        return
    memory, certain = stock.memory(ref, when)
    if answer is None:
        if memory is not None and certain:
            raise Refuted(None, f"the memory of {ref}", sentence)
        return
    if memory is None:
        raise Refuted(answer, None, sentence)
    check_memory(memory, answer, sentence)


def check_memory(memory: Memory, answer: object, sentence: str) -> None:
    """Compare with what is remembered: id, state and fence."""
    record = expect(answer, Record, sentence)
    shown = (record.forgotten, record.ref, record.head.state, record.head.fence)
    wanted = (True, memory.ref, memory.state, memory.fence)
    if shown != wanted:
        raise Refuted(record, f"(forgotten, ref, state, fence) = {wanted}", sentence)


def find_kept(stock: Stock, answer: object, sentence: str) -> tuple[Kept, Record]:
    """Return the record that must be stored for one that was shown."""
    record = expect(answer, Record, sentence)
    kept = stock.records.get(record.ref)
    if kept is None:
        raise Refuted(_named(record), "records that are stored", sentence)
    return kept, record


def _named(record: Record) -> str:
    return f"{record.ref}: {record.head}"
