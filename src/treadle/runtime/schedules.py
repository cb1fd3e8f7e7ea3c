"""The timetable in the store: read, written, paused and resumed by any process, at run time.

Every write compares the version of what was read, and is decided again if another came first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec import Struct, structs

from treadle.broker.base import Broker, Document
from treadle.domain.cron import Cron, Every
from treadle.domain.job import Job as Spec
from treadle.domain.timetable import (
    PREFIX,
    Entry,
    Origin,
    check_name,
    decode,
    encode,
    pause,
    refuse_more,
    resume,
    template,
)
from treadle.errors import ConfigurationError, TreadleError
from treadle.runtime.declared import Declared, ScheduleOptions, make_schedule
from treadle.runtime.duration import Duration, to_ms
from treadle.runtime.ids import new_id

_MOST_TRIES: Final = 20


class Listed(Struct, frozen=True, kw_only=True):
    """An entry, and whether the code that declares it is there."""

    entry: Entry
    stored: bool = True
    """It is in the store; else only in the code, and no scheduler of it has run yet."""
    orphan: bool = False
    """It was defined in code or settings, and those that were looked at have it no more: it is not fired."""


class Schedules:
    """The timetable of one store; `jobs.schedules` is that of an application."""

    def __init__(
        self,
        broker: Callable[[], Awaitable[Broker]],
        declared: Callable[[], Mapping[str, Declared]] | None = None,
    ) -> None:
        self._broker = broker
        self._declared = declared

    async def list(self) -> list[Listed]:
        """Return every entry, by name, those included that only the code has so far."""
        declared = None if self._declared is None else self._declared()
        found = {
            entry.name: Listed(entry=entry, orphan=_is_orphan(entry, declared))
            for document in await (await self._broker()).documents(PREFIX)
            if (entry := decode(document.data)) is not None
        }
        if declared is not None:
            for name in declared.keys() - found.keys():
                found[name] = Listed(entry=declared[name].entry(None, 0), stored=False)
        return [found[name] for name in sorted(found)]

    async def get(self, name: str) -> Listed:
        """Return one entry.

        Raises:
            ConfigurationError: if there is none of that name; says which ones there are.
        """
        every = await self.list()
        for listed in every:
            if listed.entry.name == name:
                return listed
        known = ", ".join(listed.entry.name for listed in every) or "none"
        raise ConfigurationError(f"no schedule is named {name!r}. There are: {known}")

    async def put(
        self,
        name: str,
        job: Spec,
        *,
        cron: str | None = None,
        every: Duration | None = None,
        tz: str = "UTC",
        **given: Any,
    ) -> Entry:
        """Store a schedule, or change one: from now on, each tick becomes a job like `job`.

            await jobs.schedules.put("digest-eu", digest.job("eu"), cron="0 7 * * *", tz="Europe/Rome")

        What the code declares may be edited too: that holds until the code says something new.

        Raises:
            ConfigurationError: if the schedule cannot be used; says what to write instead.
        """
        if (cron is None) == (every is None):
            raise ConfigurationError("give either cron='...' or every=seconds")
        when = Cron(expr=cron, tz=tz) if cron is not None else _period(every)
        options = ScheduleOptions(**given)  # type: ignore[typeddict-item]
        schedule = make_schedule(when, options)
        spec = template(job, check_name(name))
        now = await self._now()

        def change(standing: Entry | None) -> Entry:
            if standing is None:
                fresh = Entry(name=name, schedule=schedule, job=spec, since=now)
                return structs.replace(fresh, origin=Origin.STORED)
            return structs.replace(standing, schedule=schedule, job=spec, since=now)

        return await self._change(name, change)

    async def declare(self, own: Declared) -> Entry:
        """Store what the code or the settings declare, unless the same stands there already."""
        now = await self._now()
        return await self._change(own.name, lambda standing: own.entry(standing, now))

    async def pause(self, name: str, *, by: str = "") -> Entry:
        """Fire no tick of an entry until it is resumed.

        Raises:
            ConfigurationError: if there is none of that name.
        """
        listed, now = await self.get(name), await self._now()
        return await self._change(
            name, lambda standing: pause(standing or _from(listed, now), by, now)
        )

    async def resume(self, name: str) -> Entry:
        """Fire the ticks of an entry again, from now on.

        Raises:
            ConfigurationError: if there is none of that name.
        """
        listed, now = await self.get(name), await self._now()
        return await self._change(
            name, lambda standing: resume(standing or _from(listed, now), now)
        )

    async def remove(self, name: str) -> None:
        """Remove an entry from the store; one that the code declares comes back with its next start.

        Raises:
            ConfigurationError: if there is none of that name.
        """
        await self.get(name)
        broker = await self._broker()
        for _ in range(_MOST_TRIES):
            document = await broker.document(PREFIX + name)
            if document is None:
                return
            if await broker.put_document(document.name, None, document.version) is None:
                return
        raise _contended(name)

    async def job(self, name: str) -> Spec:
        """Return a job as a tick of the entry would be, due now, with an id of its own.

        Raises:
            ConfigurationError: if there is none of that name.
        """
        listed = await self.get(name)
        return structs.replace(listed.entry.job, id=new_id())

    async def _now(self) -> int:
        return (await (await self._broker()).stats()).now

    async def _change(self, name: str, change: Callable[[Entry | None], Entry]) -> Entry:
        broker = await self._broker()
        for _ in range(_MOST_TRIES):
            document = await broker.document(PREFIX + name)
            if document is None:
                refuse_more(len(await broker.documents(PREFIX)))
            wanted = change(_readable(name, document))
            data = encode(wanted)
            if document is not None and document.data == data:
                return wanted
            version = 0 if document is None else document.version
            written = await broker.put_document(PREFIX + name, data, version)
            if written is not None and written.data == data:
                return wanted
        raise _contended(name)


def _readable(name: str, document: Document | None) -> Entry | None:
    if document is None:
        return None
    entry = decode(document.data)
    if entry is None:
        raise ConfigurationError(
            f"schedule {name!r} was written by a newer version: change it there"
        )
    return entry


def _from(listed: Listed, now: int) -> Entry:
    """Return an entry that only the code has so far, as it is stored now."""
    return structs.replace(listed.entry, since=now)


def _is_orphan(entry: Entry, declared: Mapping[str, Declared] | None) -> bool:
    return entry.origin is not Origin.STORED and declared is not None and entry.name not in declared


def _period(every: Duration | None) -> Every:
    return Every(period_ms=to_ms(0 if every is None else every, "every"))


def _contended(name: str) -> TreadleError:
    return ConfigurationError(f"schedule {name!r} is being changed by others: try again")
