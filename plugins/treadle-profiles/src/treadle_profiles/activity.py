"""The activity log of `pool`: the event log of the store, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from treadle.broker.base import LogEvent
from treadle.domain.job import Ref
from treadle.domain.state import Event, State
from treadle.profile import Asked
from treadle_profiles.store import MOST, Words, failing, full, queue

_OLDEST: Final = "0"
_KEPT: Final = 10_000


async def read_lines(asked: Asked[Any, Any], known: Words) -> list[str]:
    """Return the last 1,000 lines about the jobs of a contract, the oldest first."""
    broker = await asked.client.broker()
    log = await broker.events(_OLDEST, limit=_KEPT)
    entries = [entry for entry in log.entries if entry.queue == queue(asked)][-MOST:]
    added = dict.fromkeys(Ref(e.queue, e.id) for e in entries if e.event == Event.ENQUEUE)
    types = {record.ref: record.job.type for record in await full(asked, list(added))}
    lines = [line for entry in entries for line in _lines(entry, known, types)]
    return lines[-MOST:]


def _lines(entry: LogEvent, known: Words, types: dict[Ref, str]) -> Iterator[str]:
    at = datetime.fromtimestamp(entry.at / 1_000, UTC)
    if entry.event == Event.ENQUEUE:
        kind = types.get(Ref(entry.queue, entry.id), "unknown")
        yield f"[{at:%Y-%m-%d %H:%M:%S}] [ENQUEUE] Job {entry.id} ({kind}) was added to the queue"
        return
    for word in _words(entry, known):
        yield f"[{at:%Y-%m-%d %H:%M:%S}] [UPDATE] Job {entry.id} status: {word}"


def _words(entry: LogEvent, known: Words) -> Iterator[str]:
    state = State.__members__.get(entry.state.upper())
    if entry.event == Event.FAIL and state is State.WAITING:
        yield known[State.DEAD]
        yield failing(known)
    elif state is not None:
        yield known[state]
