"""What the symbols of a program stand for: jobs, policies, outcomes."""

from __future__ import annotations

from types import MappingProxyType
from typing import assert_never

from treadle.conformance.program.ops import How, NewJob, What
from treadle.domain.job import NOW, After, ErrorInfo, Job, OnCrash, Policy, Priority, Record, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    DiscardAsked,
    Expired,
    Failed,
    Happening,
    Interrupted,
    Lost,
    Parked,
    Rejected,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
)
from treadle.domain.retry import Fixed
from treadle.domain.state import Reason
from treadle.domain.unique import Scope, Unique

POLICIES = MappingProxyType(
    {
        "": (0, 4, OnCrash.RETRY, 60, 90),
        "slow": (1, 2, OnCrash.RETRY, 3, 4),
        "once": (0, 1, OnCrash.DEAD, 60, 90),
        "brief": (0, 2, OnCrash.RETRY, 1, 3),
        "forgotten": (0, 2, OnCrash.RETRY, 1, 0),
        "kept": (0, 2, OnCrash.RETRY, None, 1),
    }
)
"""By name, in ticks: retry delay, attempts, on_crash, retention, how long the id is remembered."""

PERIOD_TICKS = 2


class Jobs:
    """Makes jobs of symbols; equal policies are one object, as an application would have them."""

    def __init__(self, tick_ms: int) -> None:
        self.tick_ms = tick_ms
        self._policies = {name: self._policy(name) for name in POLICIES}

    def job(self, new: NewJob) -> Job:
        """Make the job that a symbol stands for."""
        return Job(
            id=new.id,
            type=new.type,
            queue=new.queue,
            priority=Priority(new.priority),
            payload=b'{"job":"%s%s"}' % (new.id.encode(), new.text.encode()),
            policy=self._policies[new.policy],
            due=After(new.delay * self.tick_ms) if new.delay else NOW,
            expires=After(new.expires * self.tick_ms) if new.expires else None,
            unique=self._unique(new),
            key=new.key,
            after=tuple(ref(parent) for parent in new.after),
            run_anyway=new.run_anyway,
        )

    def outcome(self, how: How, follow_ups: tuple[NewJob, ...] = ()) -> Happening:
        """Make the outcome that a word stands for."""
        error = ErrorInfo(type="app.Broken", message=how.value)
        match how:
            case How.SUCCEED:
                return Succeeded(ran_ms=7, follow_ups=tuple(map(self.job, follow_ups)))
            case How.RETURN:
                return Succeeded(
                    result=b'"done"', ran_ms=7, follow_ups=tuple(map(self.job, follow_ups))
                )
            case How.FAIL:
                return Failed(error=error, kinds=("app.Broken",))
            case How.FAIL_LATER:
                return Failed(error=error, retry_after=After(2 * self.tick_ms))
            case How.GIVE_UP:
                return Failed(error=error, give_up=True)
            case How.TIME_OUT:
                return Failed(error=error, reason=Reason.TIMEOUT)
            case How.SNOOZE:
                return Snoozed(due=After(self.tick_ms))
            case How.CANCEL:
                return Cancelled(detail="by itself")
            case How.INTERRUPT:
                return Interrupted(delay_ms=self.tick_ms)
            case How.HAND_BACK:
                return Interrupted(started=False)
            case How.LOSE:
                return Lost()
            case How.STALL:
                return Lost(ended=False, detail="no beat")
            case How.REJECT:
                return Rejected(reason=Reason.BAD_ARGUMENTS, error=error)
            case How.PARK:
                return Parked(reason=Reason.UNKNOWN_TYPE, detail="no handler")
            case How.EXPIRE:
                return Expired()
            case _:
                assert_never(how)

    def request(self, what: What, record: Record) -> Happening | None:
        """Make what is asked of a job; None for a look, which needs its parents."""
        match what:
            case What.CANCEL:
                return CancelAsked(by="ada")
            case What.RETRY:
                return RetryAsked(by="ada")
            case What.DISCARD:
                return DiscardAsked()
            case What.SOONER:
                return RescheduleAsked(due=NOW)
            case What.LATER:
                return RescheduleAsked(due=After(3 * self.tick_ms), by="ada")
            case What.REWRITE:
                body = NewJob(
                    id=record.job.id, type="mail", priority=1, unique="k", key="slot", text=" anew"
                )
                return RescheduleAsked(due=NOW, job=self.job(body))
            case What.LOOK:
                return None
            case _:
                assert_never(what)

    def _policy(self, name: str) -> Policy:
        delay, attempts, on_crash, retention, remember = POLICIES[name]
        retention_ms = None if retention is None else retention * self.tick_ms
        return Policy(
            max_attempts=attempts,
            retry=Fixed(delay_ms=delay * self.tick_ms),
            on_crash=on_crash,
            retention_ms=retention_ms,
            dead_retention_ms=retention_ms,
            remember_ms=remember * self.tick_ms,
        )

    def _unique(self, new: NewJob) -> Unique | None:
        if not new.unique:
            return None
        period_ms = PERIOD_TICKS * self.tick_ms if new.scope == "period" else 0
        return Unique(key=new.unique, scope=Scope(new.scope), period_ms=period_ms)


def ref(name: str) -> Ref:
    """Return the identity that `queue/id` stands for."""
    queue, _, name = name.partition("/")
    return Ref(queue, name)
