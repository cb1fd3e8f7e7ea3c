"""How a worker works: every number that can be set, with its default."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from treadle.domain.selection import Ordered, Selection
from treadle.runtime.metrics import Meter
from treadle.runtime.report import WorkerReport

BATCH = 256
"""Most jobs that one call settles or claims."""
MOST_SOLO = 2
"""Most suspects that run alone at the same time."""
SOLO_WAIT_MS = 1_000
"""How long a suspect that finds no room is handed back for."""
STUCK_MS = 5_000
"""How long a handler may ignore that it was cancelled before it is given up."""


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """What a worker is told when it starts."""

    selection: Selection = Ordered(("default",))
    concurrency: int = 10
    name: str = ""
    """Session name; "" = host name and the first free number on this host."""
    app: str = ""
    """`module:attribute` of the Jobs object: what a child process imports to run a job alone."""
    grace_ms: int = 25_000
    lease_ms: int = 15_000
    beat_ms: int = 5_000
    sweep_ms: int = 2_000
    purge_ms: int = 30_000
    poll_ms: int = 1_000
    """Longest wait of one claim on a broker that cannot push."""
    burst: bool = False
    """Stop when nothing is due any more."""
    schedules: bool = False
    """Fire the ticks of schedules as well; a burst never does."""
    threads: int = 0
    """Threads for sync handlers; 0 = as many as slots."""
    beat_in_thread: bool = True
    """Renew leases from a thread; on a virtual clock they are renewed by a task."""
    blocked_warn_ms: int = 1_000
    blocked_hand_back_ms: int = 30_000
    ends_with: Callable[[WorkerReport], int] | None = None
    """The exit code of a process that is the worker's own: it is ended by force, with this code, if it
    does not end by itself."""
    meter: Meter | None = None
    """What counts for Prometheus; None = nobody asks."""
    parent: int = 0
    """The process id of its supervisor: it drains when that is gone; 0 = it has none."""
