"""Retry, cancel or remove many jobs: in chunks, each write fenced, safe to repeat.

The client reads each job, lets the domain decide, and decides again if somebody was faster. A
job whose state does not allow what was asked is skipped and counted.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from getpass import getuser

from msgspec import Struct, field

from treadle.broker.base import Broker, Filter
from treadle.cli.selecting import Selected
from treadle.cli.views import state_of
from treadle.domain.decide import decide
from treadle.domain.job import Record
from treadle.domain.outcome import CancelAsked, DiscardAsked, Refused, RetryAsked
from treadle.domain.state import Shown, State
from treadle.errors import BrokerError, IllegalTransition, JobNotFound, KeyHeld
from treadle.runtime.client import Client, Done

CHUNK = 500
Asked = CancelAsked | RetryAsked | DiscardAsked


class Tally(Struct, kw_only=True):
    """What a bulk action did."""

    done: int = 0
    asked: int = 0
    """Running jobs that were asked to stop."""
    skipped: int = 0
    unknown: list[str] = field(default_factory=list[str])
    """Ids that no job has."""

    @property
    def seen(self) -> int:
        """Return how many jobs were looked at."""
        return self.done + self.asked + self.skipped + len(self.unknown)

    def count(self, record: Record, asked: Asked) -> None:
        """Count a job to which it happened."""
        if isinstance(asked, CancelAsked) and record.head.state is State.RUNNING:
            self.asked += 1
        else:
            self.done += 1


class _NoChance:
    """Requests of people draw no jitter."""

    def random(self) -> float:
        return 0.0


def operator() -> str:
    """Name who acts, for the history of the job."""
    try:
        return f"qrun:{getuser()}"
    except (KeyError, OSError):
        return f"qrun:{os.getuid()}"


async def chunks(
    broker: Broker, selected: Selected, tally: Tally
) -> AsyncGenerator[tuple[int, list[Record]]]:
    """Yield the broker's now and the records that were selected, `CHUNK` at a time."""
    if not selected.refs:
        async for now, records in _matching(broker, selected.filter):
            yield now, records
        return
    now = (await broker.stats()).now
    for start in range(0, len(selected.refs), CHUNK):
        refs = selected.refs[start : start + CHUNK]
        found = await broker.get(refs)
        tally.unknown += [ref.id for ref, r in zip(refs, found, strict=True) if r is None]
        known = [r for r in found if r is not None]
        wanted = [r for r in known if _is_wanted(r, selected.only, now)]
        tally.skipped += len(known) - len(wanted)
        yield now, wanted


def _is_wanted(record: Record, only: Shown | None, now: int) -> bool:
    return not record.forgotten and (only is None or state_of(record, now) is only)


async def _matching(broker: Broker, filter: Filter) -> AsyncGenerator[tuple[int, list[Record]]]:
    """Yield all records that match, a page at a time; each that stays is found exactly once."""
    cursor: str | None = None
    while True:
        page = await broker.find(filter, cursor=cursor, limit=CHUNK)
        yield page.now, list(page.records)
        if page.cursor is None:
            return
        cursor = page.cursor


async def act(
    client: Client, now: int, records: Sequence[Record], asked: Asked, tally: Tally
) -> list[Done]:
    """Ask the same of each record, count what came of it, and tell what was done.

    Raises:
        BrokerError: if a write could not be made; what was done before stays done.
    """
    allowed = [record for record in records if _is_allowed(record, asked, now)]
    tally.skipped += len(records) - len(allowed)
    answers = await client.ask([record.ref for record in allowed], asked)
    acted: list[Done] = []
    for record, answer in zip(allowed, answers, strict=True):
        match answer:
            case Done():
                tally.count(record, asked)
                acted.append(answer)
            case IllegalTransition() | KeyHeld() | JobNotFound() | BrokerError():
                tally.skipped += 1
            case _:
                raise answer
    return acted


def tell(now: int, records: Sequence[Record], asked: Asked, tally: Tally) -> None:
    """Count what `act` would do, and write nothing."""
    for record in records:
        if _is_allowed(record, asked, now):
            tally.count(record, asked)
        else:
            tally.skipped += 1


def _is_allowed(record: Record, asked: Asked, now: int) -> bool:
    if isinstance(asked, CancelAsked) and record.head.cancel:
        return False  # asked already
    decided = decide(record, asked, record.job.policy, now, _NoChance())
    return not isinstance(decided, Refused)
