"""What `enqueue` may answer."""

from __future__ import annotations

from treadle.broker.values import Applied, Duplicate, Enqueued
from treadle.conformance.model import calls
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import check_standing, expect, expect_each
from treadle.conformance.model.stock import Stock
from treadle.conformance.model.when import When
from treadle.domain.head import first
from treadle.domain.job import Job, Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.state import State

_PER_JOB = (
    "Per job: `Applied`; `Duplicate` with the record that has the same (queue, id), or with the"
    " holder of its unique key; or `Refused`"
)
_FENCE = (
    "The fence of a new record is greater than every fence that the store ever gave this id, also"
    " if the id was forgotten since"
)


def judge(stock: Stock, call: calls.Enqueue, answer: object, when: When, slack_ms: int) -> None:
    """Compare each result with the reasons that speak against its job, in order."""
    enqueued = expect(answer, Enqueued, _PER_JOB)
    when = when.narrowed(enqueued.now, slack_ms)
    results = expect_each(
        enqueued.results, len(call.jobs), "Results stand in the order of what was asked"
    )
    for job, result in zip(call.jobs, results, strict=True):
        _judge_job(stock, job, result, when)


def _judge_job(stock: Stock, job: Job, result: object, when: When) -> None:
    ref = Ref(job.queue, job.id)
    memory, certain = stock.memory(ref, when)
    if ref in stock.records or (memory is not None and certain):
        duplicate = expect(result, Duplicate, _PER_JOB)
        check_standing(stock, ref, duplicate.record, when, _PER_JOB)
        return
    match result:
        case Applied():
            _insist_that_nothing_speaks_against(stock, job, when)
            insert(stock, job, result.fence, when)
        case Duplicate():
            holder, _ = stock.key_holder(job, when, ref)
            if memory is not None and result.record.ref == ref:
                holder = ref
            if holder is None:
                raise Refuted(result, "Applied: the id and its key are free", _PER_JOB)
            check_standing(stock, holder, result.record, when, _PER_JOB)
        case Refused(code=code):
            if code not in _reasons(stock, job, when, certain_only=False):
                raise Refuted(result, "Applied: nothing speaks against it", _PER_JOB)
        case _:
            raise Refuted(result, "Applied, Duplicate or Refused", _PER_JOB)


def insert(stock: Stock, job: Job, fence: int, when: When) -> None:
    """Store a job whose id and key are free under its first fence, whichever that is."""
    highest = stock.highest.get(Ref(job.queue, job.id), 0)
    if fence <= highest:
        raise Refuted(f"fence={fence}", f"a fence above {highest}", _FENCE)
    stock.insert(job, first(job, when.low, fence), when)


def _insist_that_nothing_speaks_against(stock: Stock, job: Job, when: When) -> None:
    reasons = _reasons(stock, job, when, certain_only=True)
    if reasons:
        raise Refuted("Applied", f"Refused: {sorted(reasons)}", _PER_JOB)
    holder, certain = stock.key_holder(job, when, Ref(job.queue, job.id))
    if holder is not None and certain:
        sentence = (
            "A key that no longer holds (`domain.unique.holds`) is taken over: this one holds"
        )
        raise Refuted("Applied", f"Duplicate: {holder} holds the key", sentence)


def _reasons(stock: Stock, job: Job, when: When, *, certain_only: bool) -> set[RefusalCode]:
    """Return why a job may be refused; `certain_only` leaves out what is too close to tell."""
    found: set[RefusalCode] = set()
    limit = stock.queue_limits.get(job.queue)
    waiting = sum(kept.ref.queue == job.queue for kept in stock.in_state(State.WAITING))
    if limit is not None and waiting >= limit:
        found.add(RefusalCode.QUEUE_FULL)
    for parent in job.after:
        memory, certain = stock.memory(parent, when)
        is_known = parent in stock.records or (memory is not None and (certain or certain_only))
        if not is_known:
            found.add(RefusalCode.UNKNOWN_PARENT)
    return found
