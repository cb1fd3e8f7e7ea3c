"""What people and the passing of time ask of a job that does not run: called by `decide` only."""

from __future__ import annotations

from msgspec import structs

from treadle.domain.acts import state_after, state_before
from treadle.domain.endings import end_cancelled, row
from treadle.domain.head import next_look_ms
from treadle.domain.job import NOW, After, Policy, Record, Ref
from treadle.domain.outcome import CancelRequest, Change, LookedAt, RescheduleAsked, Write
from treadle.domain.state import Event, Reason, State


def cancel_asked(record: Record, policy: Policy, now: int, by: str) -> Write:
    """End a job that does not run; ask the one that runs it otherwise."""
    head = record.head
    if head.state is State.RUNNING:
        return CancelRequest(queue=record.job.queue, id=record.job.id, fence=head.fence)
    ended = end_cancelled(record, policy, now, Event.CANCEL, Reason.CANCELLED, by=by)
    return _told(record, ended, now)


def look(record: Record, seen: LookedAt, policy: Policy, now: int) -> Change:
    """Free a blocked job, end it because a parent failed, or look again later."""
    pending: list[Ref] = []
    for ref, state in seen.parents:
        if state is State.SUCCEEDED:
            continue
        if state in (None, State.DEAD, State.CANCELLED):
            if not record.job.run_anyway:
                return end_cancelled(record, policy, now, Event.CANCEL, Reason.PARENT)
            continue
        pending.append(ref)
    head = record.head
    look_ms = next_look_ms(head.look_ms)
    return Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=Event.BLOCK if pending else Event.UNBLOCK,
        state=State.BLOCKED if pending else State.WAITING,
        due=After(look_ms) if pending else record.job.due if seen.parents else NOW,
        attempt=head.attempt,
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        # One that waits for a slot goes on doubling if it meets a full key again.
        look_ms=look_ms if pending else 0 if seen.parents else head.look_ms,
        edges=tuple(pending) if seen.parents else None,
    )


def reschedule(record: Record, asked: RescheduleAsked, now: int) -> Change:
    """Move a waiting job in time, or give it another body."""
    head = record.head
    moved = Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=Event.RESCHEDULE,
        state=State.WAITING,
        due=asked.due,
        attempt=head.attempt,
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        history=row(record, Event.RESCHEDULE, now, by=asked.by),
        job=asked.job,
    )
    return _told(record, moved, now)


def retry(record: Record, now: int, by: str) -> Change:
    """Start a new run of a final job: counters, expiry and result are cleared, history stays."""
    again = Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=record.head.fence,
        event=Event.RETRY,
        state=State.WAITING,
        due=NOW,
        attempt=0,
        history=row(record, Event.RETRY, now, reason=record.head.reason, by=by),
        fresh=True,
    )
    return _told(record, again, now)


def _told(record: Record, change: Change, now: int) -> Change:
    """Write into the row of the history what was before, and what is after."""
    if change.history is None:
        return change
    before, after = state_before(record, now), state_after(record, change, now)
    return structs.replace(
        change, history=structs.replace(change.history, before=before, after=after)
    )
