"""What each accepted write means for a head: the arithmetic that all brokers share.

These functions choose nothing: they turn a job, a claim or a decided change into the head that is
stored. A broker whose store computes heads itself (SQL, Lua) must come to the same values.
"""

from __future__ import annotations

from typing import Final, assert_never

from treadle.domain.job import After, At, Due, Head, Job, Keep
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import FINAL, State

# Looking a member up costs as much as making half a head, and these run for every job.
_BLOCKED: Final = State.BLOCKED
_RUNNING: Final = State.RUNNING

_LOOK_FIRST_MS, _LOOK_MOST_MS = 1_000, 60_000


def next_look_ms(look_ms: int) -> int:
    """Return how long to wait for the next look at a blocked job: 1 s, doubling to 60 s."""
    return min(max(look_ms * 2, _LOOK_FIRST_MS), _LOOK_MOST_MS)


def instant(due: Due, now: int, current: int = 0) -> int:
    """Turn a due into an instant of broker time; `Keep` gives `current`."""
    match due:
        case After(ms=ms):
            return now + ms
        case At(ms=ms):
            return ms
        case Keep():
            return current
        case _:
            assert_never(due)


def first(job: Job, now: int, fence: int) -> Head:
    """Return the head of a job that is stored now: blocked if it has parents, else waiting.

    `fence` must be greater than every one that this id ever had, also before it was forgotten. A
    blocked job is due for a look at once; its own delay counts from the look that frees it.
    """
    expires = _expiry(job, now)
    if job.after:
        return Head(state=State.BLOCKED, fence=fence, due=now, expires=expires)
    return Head(state=State.WAITING, fence=fence, due=instant(job.due, now), expires=expires)


def _expiry(job: Job, now: int) -> int:
    return 0 if job.expires is None else instant(job.expires, now)


def claimed(head: Head, session: str, now: int) -> Head:
    """Return the head of a waiting job that `session` claims now."""
    return Head(
        state=_RUNNING,
        fence=head.fence + 1,
        due=now,
        attempt=head.attempt + 1,
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        look_ms=head.look_ms,
        expires=head.expires,
        reason=head.reason,
        claimed=now,
        session=session,
    )


def blocked_on(head: Head, key: str, now: int) -> Head:
    """Return the head of a waiting job that met a full concurrency key while being claimed.

    Each time that it meets one again, the next look comes twice as late; a slot that is freed
    lets it in at once all the same.
    """
    look_ms = next_look_ms(head.look_ms)
    return Head(
        state=State.BLOCKED,
        fence=head.fence + 1,
        due=now + look_ms,
        attempt=head.attempt,
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        look_ms=look_ms,
        expires=head.expires,
        reason=head.reason,
        claimed=head.claimed,
        session=head.session,
        blocked_on=key,
    )


def unblocked(head: Head, now: int) -> Head:
    """Return the head of the first waiter of a concurrency key that has a free slot again."""
    return Head(
        state=State.WAITING,
        fence=head.fence + 1,
        due=now,
        attempt=head.attempt,
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        look_ms=head.look_ms,
        expires=head.expires,
        reason=head.reason,
        claimed=head.claimed,
        session=head.session,
    )


def replaced(head: Head, change: Change, now: int) -> Head:
    """Return the head after an accepted change."""
    due = change.due
    return Head(
        state=change.state,
        fence=head.fence + 1,
        due=now + due.ms if type(due) is After else instant(due, now, head.due),
        attempt=change.attempt,
        deaths=change.deaths,
        stalls=change.stalls,
        parked=change.parked,
        delay_ms=change.delay_ms,
        look_ms=change.look_ms,
        expires=_expiry_after(head, change, now),
        reason=change.reason,
        claimed=head.claimed,
        finished=now if change.state in FINAL else 0,
        session=head.session,
        blocked_on=head.blocked_on if change.state is _BLOCKED else "",
    )


def _expiry_after(head: Head, change: Change, now: int) -> int:
    if change.job is not None:
        return _expiry(change.job, now)
    return 0 if change.fresh else head.expires


def accepts(head: Head, write: Write) -> bool:
    """Tell whether a write may be applied to the record with this head.

    The fence must be the same. A change that is not final is refused while a cancel request
    stands; a cancel request needs a running record, a removal a final one.
    """
    if head.fence != write.fence:
        return False
    match write:
        case Change():
            return not head.cancel or write.state in FINAL
        case CancelRequest():
            return head.state is State.RUNNING
        case Removal():
            return head.state in FINAL
        case _:
            assert_never(write)
