"""A program: what several workers and people do with a broker, as data.

Everything is named by symbols ("the 2nd lease that worker `ada` holds", "job one/a as it was seen
last"), and time is counted in ticks, so a program means the same on every broker. What a symbol
names is found when the program runs; an operation whose symbol names nothing is skipped.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class How(StrEnum):
    """What becomes of an attempt; each is one outcome of `treadle.domain`."""

    SUCCEED = "succeed"
    RETURN = "return"
    """Succeed with a result."""
    FAIL = "fail"
    FAIL_LATER = "fail_later"
    """Fail, and wish for another attempt in two ticks."""
    GIVE_UP = "give_up"
    TIME_OUT = "time_out"
    SNOOZE = "snooze"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    HAND_BACK = "hand_back"
    """Hand back what never began."""
    LOSE = "lose"
    STALL = "stall"
    REJECT = "reject"
    PARK = "park"
    EXPIRE = "expire"


class What(StrEnum):
    """What somebody asks of a job."""

    CANCEL = "cancel"
    RETRY = "retry"
    DISCARD = "discard"
    SOONER = "sooner"
    """Reschedule it to run now."""
    LATER = "later"
    """Reschedule it to run in three ticks."""
    REWRITE = "rewrite"
    """Give it another body, with a unique key."""
    LOOK = "look"
    """Look at it, as the sweeper does with blocked jobs."""


class NewJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job to be enqueued. Durations are ticks; parents are written `queue/id`."""

    id: str
    queue: str = "one"
    type: str = "work"
    priority: int = 2
    delay: int = 0
    expires: int = 0
    unique: str = ""
    scope: str = "final"
    """With `unique`: waiting, final, or period (two ticks)."""
    key: str = ""
    after: tuple[str, ...] = ()
    run_anyway: bool = False
    policy: str = ""
    """One of `jobs.POLICIES`."""
    text: str = ""
    """Stands in the payload, so that two jobs of one id can be told apart."""


class Enqueue(Struct, frozen=True, omit_defaults=True):
    """Enqueue jobs in one call."""

    jobs: tuple[NewJob, ...]


class Claim(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a worker claim."""

    worker: str
    queues: tuple[str, ...] = ("one", "two")
    limit: int = 1


class Settle(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a worker end attempts that it holds: (which lease, how), in one call.

    `late` takes attempts that it has settled before, with the record as it was then.
    """

    worker: str
    ends: tuple[tuple[int, How], ...]
    follow_ups: tuple[NewJob, ...] = ()
    late: bool = False


class Turn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a worker settle and claim in one call."""

    worker: str
    ends: tuple[tuple[int, How], ...] = ()
    queues: tuple[str, ...] = ("one", "two")
    limit: int = 1


class Beat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a worker renew its lease; it forgets the first leases that it holds, or names old ones."""

    worker: str
    forget: int = 0
    late: bool = False


class Jot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let a worker note something about an attempt: step, progress, log."""

    worker: str
    nth: int = 0
    kinds: tuple[str, ...] = ("step",)
    late: bool = False


class Ask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ask something of a job, as it is now, or as it was seen so many sightings ago."""

    job: str
    what: What
    ago: int = 0


class Sweep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Decide about what is overdue."""

    limit: int = 10
    together: bool = True


class Repeat(Struct, frozen=True, omit_defaults=True):
    """Send an earlier call with writes again: 0 is the last one."""

    ago: int = 0


class Purge(Struct, frozen=True, omit_defaults=True):
    """Drop what is past its retention."""

    limit: int = 100


class Elapse(Struct, frozen=True):
    """Let time pass."""

    ticks: int


class Pause(Struct, frozen=True):
    """Stop or resume the claims of a queue."""

    queue: str
    paused: bool


class LimitKey(Struct, frozen=True):
    """Limit how many jobs of a concurrency key run."""

    key: str
    running: int | None


class LimitQueue(Struct, frozen=True):
    """Limit how many jobs wait in a queue."""

    queue: str
    waiting: int | None


class Open(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Open a session for a worker; an earlier one of the same name is taken over."""

    worker: str
    lease: int = 3


class Close(Struct, frozen=True):
    """Close the session of a worker."""

    worker: str


class Reconnect(Struct, frozen=True):
    """Disconnect, and connect again."""


class Switch(Struct, frozen=True):
    """Go on with another connection to the same store, then with the first one again."""


class Restart(Struct, frozen=True):
    """Restart the broker's server, where the subject can."""


class Read(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Read jobs one by one; `anywhere` asks for the id in every queue."""

    jobs: tuple[str, ...]
    anywhere: bool = False


class List(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Turn so many pages of a listing: a new one, or go on with the one that is open."""

    queue: str = ""
    state: str = ""
    text: str = ""
    error: str = ""
    oldest: bool = False
    limit: int = 3
    pages: int = 99
    go_on: bool = False


class Put(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Write a control document, with the version that stands or another one."""

    name: str
    text: str | None
    stale: bool = False


class Follow(Struct, frozen=True, omit_defaults=True):
    """Read the event log from where it was read last."""

    limit: int = 1_000


class Scan(Struct, frozen=True):
    """Read everything: lists, records, counts, sessions, notes, limits, documents."""


Op = (
    Enqueue
    | Claim
    | Settle
    | Turn
    | Beat
    | Jot
    | Ask
    | Sweep
    | Repeat
    | Purge
    | Elapse
    | Pause
    | LimitKey
    | LimitQueue
    | Open
    | Close
    | Reconnect
    | Switch
    | Restart
    | Read
    | List
    | Put
    | Follow
    | Scan
)
Program = tuple[Op, ...]
