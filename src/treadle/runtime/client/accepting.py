"""What a broker's answer to an enqueue means for its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from treadle.domain.job import Job, Record
from treadle.domain.outcome import RefusalCode, Refused
from treadle.errors import (
    KeyHeld,
    NotAccepted,
    QueueFull,
    StorageFull,
    TooLarge,
    UnknownParent,
)

_KINDS: Final[Mapping[RefusalCode, type[NotAccepted]]] = MappingProxyType(
    {
        RefusalCode.QUEUE_FULL: QueueFull,
        RefusalCode.TOO_LARGE: TooLarge,
        RefusalCode.STORAGE_FULL: StorageFull,
        RefusalCode.UNKNOWN_PARENT: UnknownParent,
        RefusalCode.ILLEGAL_TRANSITION: NotAccepted,
    }
)
_NAMED: Final = 5


def refusal(job: Job, refused: Refused) -> NotAccepted:
    """Turn a broker's refusal into the error of its kind."""
    text = f"job {job.id} ({job.type}, queue {job.queue}) was not accepted: {refused.detail}"
    return _KINDS[refused.code](text)


def key_held(job: Job, holder: Record) -> KeyHeld:
    """Say who holds the unique key."""
    key = job.unique.key if job.unique else ""
    return KeyHeld(
        f"job {job.id} ({job.type}, queue {job.queue}) was not accepted: "
        f"job {holder.job.id} holds the unique key {key!r}"
    )


def together(
    jobs: Sequence[Job], answers: Sequence[object], accepted: int, unsent: int
) -> NotAccepted:
    """Make one error of several answers: how many were refused, which, and why the first one."""
    refused = [(job, a) for job, a in zip(jobs, answers, strict=True) if isinstance(a, NotAccepted)]
    _, first = refused[0]
    accepted += len(jobs) - len(refused)
    if not accepted and not unsent and len(refused) == 1:
        return first
    kinds = {type(error) for _, error in refused}
    ids = ", ".join(job.id for job, _ in refused[:_NAMED])
    more = ", ..." if len(refused) > _NAMED else ""
    error = (kinds.pop() if len(kinds) == 1 else NotAccepted)(
        f"{len(refused)} of {len(refused) + accepted + unsent} jobs were not accepted "
        f"({accepted} accepted, {unsent} not tried): {ids}{more}. First: {first}"
    )
    error.__cause__ = first
    return error
