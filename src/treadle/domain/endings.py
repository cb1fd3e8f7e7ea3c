"""What the end of an attempt means: one rule a function, called by `decide` only.

Attempts are counted when a job is claimed; what was not the handler's fault is taken back here.
"""

from __future__ import annotations

from typing import Final

from treadle.domain.job import (
    NEVER,
    NOW,
    After,
    At,
    Due,
    ErrorInfo,
    HistoryRow,
    OnCrash,
    Policy,
    Record,
)
from treadle.domain.outcome import Change, Failed, Interrupted, Lost, Parked, Snoozed, Succeeded
from treadle.domain.retry import Rng, delay_ms
from treadle.domain.state import Event, Reason, State

# What nearly all attempts need: on Python 3.11 looking a member up costs as much as making a struct.
_SUCCEED: Final = Event.SUCCEED
_SUCCEED_NAME: Final = Event.SUCCEED.value
_SUCCEEDED: Final = State.SUCCEEDED

MOST_DEATHS = 3
"""A job whose process died this often, the last time alone, is quarantined."""
MOST_STALLS = 10
PARK_UNKNOWN_TYPE_MS = 10 * 60_000
_PARK_FIRST_MS, _PARK_MOST_MS = 1_000, 30_000


def _kept(retention_ms: int | None) -> Due:
    return At(NEVER) if retention_ms is None else After(retention_ms)


def row(
    record: Record,
    event: Event,
    now: int,
    *,
    ran_ms: int = 0,
    reason: str = "",
    error: ErrorInfo | None = None,
    by: str = "",
) -> HistoryRow:
    """Write down what just happened to the attempt that the record shows."""
    head = record.head
    return HistoryRow(
        event=event.value,
        fence=head.fence,
        attempt=head.attempt,
        at=now,
        claimed=head.claimed,
        ran_ms=ran_ms,
        session=head.session,
        reason=reason,
        error=error,
        by=by,
    )


def succeed(record: Record, outcome: Succeeded, policy: Policy, now: int) -> Change:
    """End the job with its result."""
    head = record.head
    return Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=_SUCCEED,
        state=_SUCCEEDED,
        due=_kept(policy.retention_ms),
        attempt=head.attempt,
        deaths=head.deaths,
        history=HistoryRow(
            event=_SUCCEED_NAME,
            fence=head.fence,
            attempt=head.attempt,
            at=now,
            claimed=head.claimed,
            ran_ms=outcome.ran_ms,
            session=head.session,
        ),
        result=outcome.result,
        follow_ups=outcome.follow_ups,
    )


def bury(
    record: Record,
    policy: Policy,
    now: int,
    event: Event,
    reason: Reason,
    error: ErrorInfo | None,
    ran_ms: int = 0,
    *,
    deaths: int | None = None,
    stalls: int | None = None,
    refund: bool = False,
) -> Change:
    """Put the job among the dead letters under one word."""
    head = record.head
    return Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=event,
        state=State.DEAD,
        due=_kept(policy.dead_retention_ms),
        attempt=head.attempt - refund,
        deaths=head.deaths if deaths is None else deaths,
        stalls=head.stalls if stalls is None else stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        reason=reason.value,
        history=row(record, event, now, ran_ms=ran_ms, reason=reason.value, error=error),
    )


def end_cancelled(
    record: Record,
    policy: Policy,
    now: int,
    event: Event,
    reason: Reason,
    *,
    refund: bool = False,
    error: ErrorInfo | None = None,
    ran_ms: int = 0,
    by: str = "",
) -> Change:
    """End the job without a result because nobody wants it any more."""
    head = record.head
    return Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=event,
        state=State.CANCELLED,
        due=_kept(policy.retention_ms),
        attempt=head.attempt - refund,
        deaths=head.deaths,
        stalls=head.stalls,
        reason=reason.value,
        history=row(record, event, now, ran_ms=ran_ms, reason=reason.value, error=error, by=by),
        edges=() if head.state is State.BLOCKED else None,
    )


def cancel(record: Record, policy: Policy, now: int, *, ran_ms: int, detail: str) -> Change:
    """End an attempt that was cancelled, by request or by its handler."""
    error = ErrorInfo(type="Cancel", message=detail) if detail else None
    return end_cancelled(
        record, policy, now, Event.CANCEL, Reason.CANCELLED, error=error, ran_ms=ran_ms
    )


def _cancel_met(record: Record, policy: Policy, now: int, event: Event, ran_ms: int = 0) -> Change:
    """End a job that would have waited again, since a cancel was requested while it ran."""
    return end_cancelled(record, policy, now, event, Reason.CANCELLED, refund=True, ran_ms=ran_ms)


def wait(
    record: Record,
    now: int,
    event: Event,
    due: Due,
    *,
    refund: bool,
    deaths: int = 0,
    stalls: int | None = None,
    parked: int = 0,
    delay: int | None = None,
    reason: str = "",
    error: ErrorInfo | None = None,
    ran_ms: int = 0,
    silent: bool = False,
) -> Change:
    """Let the job wait for its next claim; `refund` takes the attempt back."""
    head = record.head
    line = row(record, event, now, ran_ms=ran_ms, reason=reason, error=error)
    return Change(
        queue=record.job.queue,
        id=record.job.id,
        fence=head.fence,
        event=event,
        state=State.WAITING,
        due=due,
        attempt=head.attempt - refund,
        deaths=deaths,
        stalls=head.stalls if stalls is None else stalls,
        parked=parked,
        delay_ms=head.delay_ms if delay is None else delay,
        reason=reason,
        history=None if silent else line,
    )


def fail(record: Record, failure: Failed, policy: Policy, now: int, rng: Rng) -> Change:
    """Retry after a failure if the policy allows it, else bury the job."""
    head = record.head
    if head.cancel:
        return end_cancelled(
            record,
            policy,
            now,
            Event.FAIL,
            Reason.CANCELLED,
            error=failure.error,
            ran_ms=failure.ran_ms,
        )
    reason = _verdict(record, failure, policy)
    if reason is not None:
        return bury(record, policy, now, Event.FAIL, reason, failure.error, failure.ran_ms)
    failures = max(head.attempt - 1, 0)
    wished = failure.retry_after
    delay = (
        delay_ms(policy.retry, failures, head.delay_ms, rng) if wished is None else head.delay_ms
    )
    return wait(
        record,
        now,
        Event.FAIL,
        After(delay) if wished is None else wished,
        refund=False,
        delay=delay,
        error=failure.error,
        ran_ms=failure.ran_ms,
    )


def _verdict(record: Record, failure: Failed, policy: Policy) -> Reason | None:
    """Return why a failed job is dead, or None if it gets another attempt."""
    if failure.give_up or not _worth_retrying(failure, policy):
        return Reason.GIVEN_UP
    if policy.on_crash is OnCrash.DEAD or record.head.attempt >= policy.max_attempts:
        return failure.reason
    return None


def _worth_retrying(failure: Failed, policy: Policy) -> bool:
    if failure.again or failure.retry_after is not None:
        return True  # the handler asked for it itself; lists of exceptions do not matter
    if any(kind in policy.give_up_on for kind in failure.kinds):
        return False
    return not policy.retry_on or any(kind in policy.retry_on for kind in failure.kinds)


def snooze(record: Record, outcome: Snoozed, policy: Policy, now: int) -> Change:
    """Wait until the handler wants to be called again; its process survived, so deaths are cleared."""
    if record.head.cancel:
        return _cancel_met(record, policy, now, Event.SNOOZE, outcome.ran_ms)
    return wait(
        record, now, Event.SNOOZE, outcome.due, refund=True, ran_ms=outcome.ran_ms, stalls=0
    )


def interrupt(record: Record, outcome: Interrupted, policy: Policy, now: int) -> Change:
    """Hand the job back at once, unless it may run at most once and had started."""
    head = record.head
    if head.cancel:
        return _cancel_met(record, policy, now, Event.INTERRUPT, outcome.ran_ms)
    if outcome.started and policy.on_crash is OnCrash.DEAD:
        return bury(
            record,
            policy,
            now,
            Event.INTERRUPT,
            Reason.INTERRUPTED,
            None,
            outcome.ran_ms,
            refund=True,
        )
    return wait(
        record,
        now,
        Event.INTERRUPT,
        After(outcome.delay_ms) if outcome.delay_ms else NOW,
        refund=True,
        deaths=head.deaths,
        parked=0 if outcome.started else head.parked,
        ran_ms=outcome.ran_ms,
        silent=not outcome.started,
    )


def lose(record: Record, outcome: Lost, policy: Policy, now: int) -> Change:
    """Count a death or a stall and run the job again, or quarantine it."""
    head = record.head
    if head.cancel:
        return _cancel_met(record, policy, now, Event.LOSE)
    error = ErrorInfo(type="Lost", message=outcome.detail) if outcome.detail else None
    deaths = head.deaths + (outcome.started and outcome.ended)
    stalls = head.stalls + (outcome.started and not outcome.ended)
    reason: Reason | None = None
    if outcome.started and policy.on_crash is OnCrash.DEAD:
        reason = Reason.LOST
    elif deaths >= MOST_DEATHS:
        reason = Reason.QUARANTINED
    elif stalls >= MOST_STALLS:
        reason = Reason.LOST
    if reason is not None:
        return bury(
            record,
            policy,
            now,
            Event.LOSE,
            reason,
            error,
            deaths=deaths,
            stalls=stalls,
            refund=True,
        )
    return wait(
        record,
        now,
        Event.LOSE,
        NOW,
        refund=True,
        deaths=deaths,
        stalls=stalls,
        parked=0 if outcome.started else head.parked,
        error=error,
    )


def park(record: Record, happening: Parked, policy: Policy, now: int) -> Change:
    """Wait for a worker that can run it: 1 s, doubling to 30 s."""
    head = record.head
    if head.cancel:
        return _cancel_met(record, policy, now, Event.PARK)
    first = head.parked or now
    elapsed = max(now - first, 0)
    if happening.reason is Reason.UNKNOWN_TYPE and elapsed >= PARK_UNKNOWN_TYPE_MS:
        error = ErrorInfo(type="UnknownType", message=happening.detail)
        return bury(record, policy, now, Event.PARK, Reason.UNKNOWN_TYPE, error, refund=True)
    # 1, 2, 4, 8 ... s: the time parked so far doubles with each look, so no counter is kept.
    delay = min(max(elapsed + _PARK_FIRST_MS, _PARK_FIRST_MS), _PARK_MOST_MS)
    return wait(
        record,
        now,
        Event.PARK,
        After(delay),
        refund=True,
        deaths=head.deaths,
        parked=first,
        reason=happening.reason.value,
        silent=head.parked > 0,
    )
