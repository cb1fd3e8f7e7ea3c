"""Keys made of names and numbers, whose bytes sort as their parts do."""

from __future__ import annotations

from typing import Final

Part = str | int

_MIDDLE: Final = 2**63
_MOST: Final = 2**63 - 1

BODY: Final = "body"
"""(queue, id): the envelope of a job, as `domain.codec` writes it."""
PAYLOAD: Final = "payload"
ROW: Final = "row"
"""(queue, id): the head, and what the indexes need to know of the job."""
PAST: Final = "past"
"""(queue, id): result and history."""
QUEUE: Final = "queue"
"""(name): counts by state, whether it is paused, its limit."""
LINE: Final = "line"
"""(queue, priority, due, seq): the waiting jobs in the order of their claims."""
STATE: Final = "state"
"""(queue, state, seq): all jobs by creation."""
FINAL_DUE: Final = "final"
"""(due, queue, id): final jobs by the end of their retention."""
LOOK: Final = "look"
"""(due, queue, id): jobs blocked on parents, by when to look at them again."""
CHILD: Final = "child"
"""(parent's queue and id, own queue and id): who waits for whom."""
UNIQUE: Final = "unique"
"""(queue, key): who took a unique key."""
MEMORY: Final = "memory"
"""(queue, id): what is remembered of a removed job."""
FORGET: Final = "forget"
"""(until, queue, id): what is remembered, by when to forget it."""
LIMIT: Final = "limit"
"""(key): how many jobs of a concurrency key may run."""
USED: Final = "used"
"""(key): how many of them run."""
WAITER: Final = "waiter"
"""(key, turn): jobs blocked on a concurrency key, those first that have waited longest."""
SESSION: Final = "session"
HELD: Final = "held"
"""(session, queue, id): what a session runs."""
STEP: Final = "step"
PROGRESS: Final = "progress"
LOG: Final = "log"
DOCUMENT: Final = "document"
EVENT: Final = "event"
COUNTERS: Final = "counters"


def pack(*parts: Part) -> bytes:
    """Make a key. Texts come before longer texts that begin alike, numbers in their order."""
    return b"".join(map(_packed, parts))


def behind(prefix: bytes) -> bytes:
    """Return the end of the range of keys that begin with `prefix`."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1])


def _packed(part: Part) -> bytes:
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + b"\0\1"
    return (max(min(part, _MOST), -_MIDDLE) + _MIDDLE).to_bytes(8, "big")
