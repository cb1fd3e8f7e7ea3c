"""What people ask of jobs: read, decide, apply, and decide again if somebody else was first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec import Struct, structs

from treadle.broker.base import Applied, Broker, Conflict, Duplicate
from treadle.domain.acts import state_after, state_before
from treadle.domain.decide import decide
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Change,
    DiscardAsked,
    Refused,
    RescheduleAsked,
    RetryAsked,
    Write,
)
from treadle.domain.retry import Rng
from treadle.domain.state import FINAL
from treadle.errors import BrokerError, IllegalTransition, JobNotFound, KeyHeld, TreadleError
from treadle.runtime.client.lane import Lane

BATCH: Final = 500
_MOST_TRIES: Final = 10

Asked = CancelAsked | RetryAsked | DiscardAsked | RescheduleAsked


class Done(Struct, frozen=True, gc=False, kw_only=True):
    """What was done to a job because it was asked."""

    ref: Ref
    before: str
    """The state that it was in, as people see it."""
    after: str
    """The state that it came to, `cancel_requested` or `removed`."""


def done(record: Record, write: Write, now: int) -> Done:
    """Tell what a write did that was decided for a record at `now`."""
    return Done(
        ref=record.ref,
        before=state_before(record, now),
        after=state_after(record, write, now),
    )


async def ask(lane: Lane, refs: Sequence[Ref], asked: Asked, rng: Rng) -> list[Done | TreadleError]:
    """Ask the same of several jobs; tell for each what was done, or why it was not."""
    broker = await lane.broker()
    await _know_the_time(lane, broker)
    answers: list[Done | TreadleError] = []
    for start in range(0, len(refs), BATCH):
        some = refs[start : start + BATCH]
        answers += await _ask_some(lane, broker, some, await broker.get(some), asked, rng)
    return answers


async def replace(lane: Lane, holder: Record, job: Job, rng: Rng) -> bool:
    """Give the waiting holder of a unique key the body of `job`.

    Returns False if the holder is final by now, so that the key is free again; a holder that
    runs or is blocked stays as it is.
    """
    broker = await lane.broker()
    body = structs.replace(job, id=holder.job.id, queue=holder.job.queue)
    asked = RescheduleAsked(due=job.due, job=body)
    await _ask_some(lane, broker, [holder.ref], [holder], asked, rng)
    (record,) = await broker.get([holder.ref])
    return record is not None and record.head.state not in FINAL


async def _know_the_time(lane: Lane, broker: Broker) -> None:
    # P11: what is decided here follows the broker's clock, never that of this machine.
    if not lane.has_time:
        lane.synced((await broker.stats()).now)


async def _ask_some(
    lane: Lane,
    broker: Broker,
    refs: Sequence[Ref],
    records: Sequence[Record | None],
    asked: Asked,
    rng: Rng,
) -> list[Done | TreadleError]:
    answers: dict[int, Done | TreadleError] = {}
    pending = dict(enumerate(records))
    for _ in range(_MOST_TRIES):
        writes: dict[int, Write] = {}
        for index, record in pending.items():
            decided = _decided(refs[index], record, asked, lane.clock.now_ms(), rng)
            if isinstance(decided, TreadleError):
                answers[index] = decided
            else:  # the answer holds if nobody was faster
                writes[index], answers[index] = decided
        if not writes:
            break
        settled = await broker.apply(list(writes.values()))
        lane.synced(settled.now)
        pending = {}
        for (index, write), result in zip(writes.items(), settled.results, strict=True):
            match result:
                case Applied():
                    continue
                case Duplicate(record=holder):
                    answers[index] = _key_held(refs[index], holder)
                case Conflict(record=record):
                    if not _was_ours(write, record):
                        pending[index] = record
                case _:
                    assert_never(result)
    else:
        for index in pending:
            answers[index] = BrokerError(
                f"job {refs[index].id} changed {_MOST_TRIES} times while it was asked to change: try again"
            )
    return [answers[index] for index in range(len(refs))]


def _decided(
    ref: Ref, record: Record | None, asked: Asked, now: int, rng: Rng
) -> tuple[Write, Done] | TreadleError:
    if record is None or record.forgotten:
        return not_found(ref, record)
    decided = decide(record, asked, record.job.policy, now, rng)
    if isinstance(decided, Refused):
        return IllegalTransition(decided.detail)
    return decided, done(record, decided, now)


def _was_ours(write: Write, record: Record | None) -> bool:
    """Tell whether a write that met a conflict had been applied before: its reply was lost."""
    row = write.history if isinstance(write, Change) else None
    return row is not None and record is not None and row in record.history


def not_found(ref: Ref, record: Record | None = None) -> JobNotFound:
    """Say that a job is not there, or not there any more."""
    where = f" in queue {ref.queue}" if ref.queue else ""
    if record is not None:
        return JobNotFound(f"job {ref.id}{where} ended and its record was purged")
    return JobNotFound(
        f"no job {ref.id}{where}: never enqueued here, or purged after its retention"
    )


def _key_held(ref: Ref, holder: Record) -> KeyHeld:
    key = holder.job.unique.key if holder.job.unique else ""
    return KeyHeld(
        f"job {ref.id} cannot wait again: job {holder.job.id} holds its unique key {key!r} now"
    )
