"""Entries of the timetable: a schedule, the job that each tick becomes, and whether it is in force.

An entry is a small document in the store, so every process sees the same one. What fires is decided
from it and from the time alone: the job of a tick has the id `cron:<name>:<instant>`, so schedulers that
know nothing of each other insert the same job, and it is stored once. An entry that was changed or
resumed at an instant (`since`) fires only ticks after it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, structs

from treadle.domain.cron import Schedule, due_between, next_fire
from treadle.domain.job import DAY_MS, HOUR_MS, At, Job
from treadle.errors import ConfigurationError

PREFIX: Final = "cron:"
"""How the documents of entries, and the ids of their jobs, begin."""
VERSION: Final = 1
MOST: Final = 1_000
"""How many entries there may be: every scheduler holds all of them."""
META: Final = "cron"
"""Under this name the `meta` of a job tells the entry that it comes from."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,96}")
_REMEMBERED_MS: Final = DAY_MS + HOUR_MS
"""How long the id of a tick is known: longer than any scheduler looks back."""


class Origin(StrEnum):
    """Where an entry was defined."""

    CODE = "code"
    """In the application: only a process whose code has it fires it."""
    SETTINGS = "settings"
    """In the settings: only a process whose settings have it fires it."""
    STORED = "stored"
    """At run time: any process fires it."""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the timetable."""

    v: int = VERSION
    name: str
    schedule: Schedule
    job: Job
    """What each tick becomes; its id and due time are those of the tick."""
    origin: Origin = Origin.CODE
    digest: str = ""
    """Of the definition in the code or the settings; another one there replaces the entry."""
    since: int = 0
    """Only ticks after this instant are fired."""
    paused: int = 0
    """When it was paused; 0 = it is in force."""
    by: str = ""
    """Who paused it."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def check_name(name: str) -> str:
    """Return the name of an entry if it can be one.

    Raises:
        ConfigurationError: if it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"schedule name {name!r}: letters, digits, _ . and - only, 1 to 96; give it another one"
        )
    return name


def encode(entry: Entry) -> bytes:
    """Write an entry as the bytes of its document."""
    return _encoder.encode(entry)


def decode(data: bytes) -> Entry | None:
    """Read a document; None if a newer version wrote it, or it is none."""
    try:
        entry = _decoder.decode(data)
    except msgspec.MsgspecError:
        return None
    return entry if entry.v == VERSION else None


def declare(
    standing: Entry | None,
    name: str,
    schedule: Schedule,
    job: Job,
    now: int,
    origin: Origin = Origin.CODE,
) -> Entry:
    """Return what shall stand in the store for a definition in the code or the settings.

    An entry of the same definition stays as it is, also if it was edited or paused since.
    """
    digest = hashlib.blake2b(_encoder.encode((schedule, job)), digest_size=12).hexdigest()
    if standing is None:
        return Entry(name=name, schedule=schedule, job=job, origin=origin, digest=digest, since=now)
    if standing.digest == digest and standing.origin is origin:
        return standing
    return structs.replace(
        standing, schedule=schedule, job=job, digest=digest, origin=origin, since=now
    )


def refuse_more(count: int) -> None:
    """Refuse one more entry if there are `count` already.

    Raises:
        ConfigurationError: if that is as many as there may be.
    """
    if count >= MOST:
        raise ConfigurationError(
            f"there are {count} schedules already, and {MOST} is the most. Let one schedule run a "
            "job that enqueues the others, or forget old ones with `qrun cron remove`"
        )


def pause(entry: Entry, by: str, now: int) -> Entry:
    """Return the entry out of force; one that is paused stays as it is."""
    return entry if entry.paused else structs.replace(entry, paused=max(now, 1), by=by)


def resume(entry: Entry, now: int) -> Entry:
    """Return the entry in force from now on: what was missed meanwhile is not caught up."""
    return structs.replace(entry, paused=0, by="", since=now) if entry.paused else entry


def due_ticks(entry: Entry, done: int, now: int) -> tuple[int, ...]:
    """Return the ticks that shall be fired now, after those up to `done`."""
    return () if entry.paused else due_between(entry.schedule, max(_since(entry, now), done), now)


def next_tick(entry: Entry, now: int) -> int | None:
    """Return when it fires next; None if it is paused or has no tick left."""
    return None if entry.paused else next_fire(entry.schedule, max(now, _since(entry, now)))


def _since(entry: Entry, now: int) -> int:
    # Written while a clock was ahead: it must not silence the entry until that time has come.
    return 0 if entry.since > now + HOUR_MS else entry.since


def tick_id(name: str, tick: int) -> str:
    """Return the id of the job of a tick: the same in every process."""
    at = datetime.fromtimestamp(tick / 1000, UTC).replace(tzinfo=None)
    return f"{PREFIX}{name}:{at.isoformat(timespec='milliseconds' if tick % 1000 else 'seconds')}Z"


def tick_job(entry: Entry, tick: int) -> Job:
    """Return the job of a tick, which no broker hands out before its instant."""
    return structs.replace(entry.job, id=tick_id(entry.name, tick), due=At(tick))


def template(job: Job, name: str) -> Job:
    """Return a job as the pattern of an entry's jobs: without id, and remembered for a day."""
    longest = max(job.policy.remember_ms, _REMEMBERED_MS)
    policy = structs.replace(job.policy, remember_ms=longest)
    return structs.replace(job, id="", policy=policy, meta={**job.meta, META: name})
