"""Whose a task is: it inherits, through its context, the slot or the attempt that it was made in.

A slot says so once, when its consumer starts; naming every single attempt costs a context variable
per job, so a crew begins with that only when a handler was seen to make tasks of its own. A task
that shall outlive the attempt that makes it is made in a context of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from treadle.broker.base import Lease

if TYPE_CHECKING:
    from treadle.runtime.attempt import Attempt
    from treadle.runtime.slots import Slot

OWNER: ContextVar[Slot | tuple[Slot, Lease] | Lease | None] = ContextVar(
    "treadle_owner", default=None
)
"""A slot, an attempt on it, or, in a child process, which has no slots, an attempt."""


@contextmanager
def unowned() -> Generator[None]:
    """Let the tasks that the block makes belong to no attempt: they serve later ones too."""
    before = OWNER.set(None)
    try:
        yield
    finally:
        OWNER.reset(before)


def job_fields() -> Mapping[str, object]:
    """Return what a log line says about the job that runs here; nothing outside of one.

    A task or thread that outlives its attempt is taken for part of what its slot runs then, unless the
    crew names owners.
    """
    owner = OWNER.get()
    if owner is None:
        return {}
    if isinstance(owner, Lease):
        return {"job_id": owner.id, "queue": owner.queue, "status": "running"}
    slot, lease = owner if isinstance(owner, tuple) else (owner, None)
    attempt = slot.attempt
    if attempt is None or (lease is not None and attempt.lease != lease):
        return {} if lease is None else about_ended(lease)
    return running_fields(attempt)


def running_fields(attempt: Attempt) -> Mapping[str, object]:
    """Return what a log line says about the job of an attempt that runs."""
    return {
        "job_id": attempt.job.id,
        "type": attempt.job.type,
        "queue": attempt.job.queue,
        "attempt": attempt.number,
        "status": "running",
    }


def about_ended(lease: Lease) -> Mapping[str, object]:
    """Return what a log line says about the job of an attempt that is over."""
    return {"job_id": lease.id, "queue": lease.queue, "status": "ended"}
