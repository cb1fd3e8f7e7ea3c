"""Whose a task is: it inherits, through its context, the slot or the attempt that it was made in.

A slot says so once, when its consumer starts; naming every single attempt costs a context variable
per job, so a crew begins with that only when a handler was seen to make tasks of its own. A task
that shall outlive the attempt that makes it is made in a context of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.broker.base import Lease
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
