"""The one place that decides a job's fate: record + what happened -> what shall be written.

Pure and total. The broker applies the answer if the fence still matches; if it does not, the
worker asks again with the record that stands now, or drops the outcome. That is how a cancel that
raced with a failure, a lost lease, a double delivery and a zombie worker are all one case.

Attempts are counted when a job is claimed; what was not the handler's fault is taken back here.
"""

from __future__ import annotations

from typing import Final, assert_never

from treadle.domain import endings, requests
from treadle.domain.job import Policy, Record
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    DiscardAsked,
    Expired,
    Failed,
    Happening,
    Interrupted,
    LookedAt,
    Lost,
    Parked,
    RefusalCode,
    Refused,
    Rejected,
    Removal,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
    Write,
)
from treadle.domain.retry import Rng
from treadle.domain.state import TRANSITIONS, Event, Reason, State

_RUNNING: Final = State.RUNNING


def decide(
    record: Record, happening: Happening, policy: Policy, now: int, rng: Rng
) -> Write | Refused:
    """Decide what shall be written because of `happening`, or why nothing may be.

    `record` is the record as last seen (of `overdue`, payload-free ones do), `policy` the policy
    it runs under, `now` broker time in ms. Never raises; a pair that the table does not hold
    answers `Refused(ILLEGAL_TRANSITION)`.
    """
    if type(happening) is Succeeded and record.head.state is _RUNNING:
        return endings.succeed(record, happening, policy, now)  # almost all traffic
    event = _event(record, happening)
    if (record.head.state, event) not in TRANSITIONS:
        return _illegal(record, event)
    match happening:
        case Succeeded():
            return endings.succeed(record, happening, policy, now)
        case Failed():
            return endings.fail(record, happening, policy, now, rng)
        case Snoozed():
            return endings.snooze(record, happening, policy, now)
        case Cancelled(detail=detail, ran_ms=ran_ms):
            return endings.cancel(record, policy, now, ran_ms=ran_ms, detail=detail)
        case Interrupted():
            return endings.interrupt(record, happening, policy, now)
        case Lost():
            return endings.lose(record, happening, policy, now)
        case Rejected():
            return endings.bury(
                record,
                policy,
                now,
                Event.REJECT,
                happening.reason,
                happening.error,
                happening.ran_ms,
            )
        case Parked():
            return endings.park(record, happening, policy, now)
        case Expired():
            return endings.end_cancelled(
                record, policy, now, Event.EXPIRE, Reason.EXPIRED, refund=True
            )
        case LookedAt():
            return requests.look(record, happening, policy, now)
        case CancelAsked(by=by):
            return requests.cancel_asked(record, policy, now, by)
        case RescheduleAsked():
            return requests.reschedule(record, happening, now)
        case RetryAsked(by=by):
            return requests.retry(record, now, by)
        case DiscardAsked():
            return Removal(
                queue=record.job.queue,
                id=record.job.id,
                fence=record.head.fence,
                remember_ms=policy.remember_ms,
            )
        case _:
            assert_never(happening)


def is_suspect(record: Record) -> bool:
    """Tell whether a job was present at the death of a process: its next attempt runs alone."""
    return record.head.deaths > 0


def _event(record: Record, happening: Happening) -> Event:
    match happening:
        case Succeeded():
            return Event.SUCCEED
        case Failed():
            return Event.FAIL
        case Snoozed():
            return Event.SNOOZE
        case Cancelled():
            return Event.CANCEL
        case Interrupted():
            return Event.INTERRUPT
        case Lost():
            return Event.LOSE
        case Rejected():
            return Event.REJECT
        case Parked():
            return Event.PARK
        case Expired():
            return Event.EXPIRE
        case LookedAt():
            return Event.UNBLOCK
        case CancelAsked():
            running = record.head.state is State.RUNNING
            return Event.REQUEST_CANCEL if running else Event.CANCEL
        case RescheduleAsked():
            return Event.RESCHEDULE
        case RetryAsked():
            return Event.RETRY
        case DiscardAsked():
            return Event.DISCARD
        case _:
            assert_never(happening)


def _illegal(record: Record, event: Event) -> Refused:
    state = record.head.state.name.lower()
    return Refused(
        code=RefusalCode.ILLEGAL_TRANSITION,
        detail=f"job {record.job.id} of queue {record.job.queue} is {state}: it cannot {event}",
    )
