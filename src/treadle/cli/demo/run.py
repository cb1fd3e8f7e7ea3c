"""One run of the demo, from the first job to the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from treadle.broker.base import Broker, Filter, Stats
from treadle.cli.demo.figures import Figures, figures
from treadle.cli.demo.fleet import Fleet, FleetFailed, kill_one
from treadle.cli.output import Bar
from treadle.domain.job import Job, Record
from treadle.runtime.client import Client

QUEUE = "default"
_LIMIT_S = 180.0
_LOOK_S = 0.1
_CHUNK = 500


class Run:
    """A run of the demo on a fresh store."""

    def __init__(self, client: Client, broker: Broker, fleet: Fleet, bar: Bar) -> None:
        self._client = client
        self._broker = broker
        self._fleet = fleet
        self._bar = bar

    async def complete(self, jobs: Sequence[Job]) -> Figures:
        """Enqueue, kill a worker half-way, wait for the last job, and count.

        Raises:
            FleetFailed: if it takes too long, or the workers end by themselves.
        """
        with anyio.move_on_after(_LIMIT_S):
            await self._until_workers()
            accepted = [job.id for job in await self._client.enqueue(jobs)]
            await self._until_final(len(accepted) // 2)
            killed = await kill_one(self._broker, self._fleet, QUEUE)
            self._bar.update(len(accepted) // 2, len(accepted), f"killed {killed.name}")
            await self._until_final(len(accepted))
            return figures(accepted, await self._read_back(), killed.session)
        raise FleetFailed(
            f"the demo was not done after {_LIMIT_S:g} s:\n{self._fleet.last_words()}"
        )

    async def _until_workers(self) -> None:
        while True:
            if len(await self._fleet.sessions(self._broker)) >= self._fleet.processes:
                return
            await anyio.sleep(_LOOK_S)

    async def _until_final(self, count: int) -> None:
        while True:
            await self._fleet.sessions(self._broker)
            stats = await self._broker.stats()
            final = _final(stats)
            self._bar.update(final, final + _unfinished(stats))
            if final >= count:
                return
            await anyio.sleep(_LOOK_S)

    async def _read_back(self) -> Mapping[str, Record]:
        """Read every job with its history."""
        found: dict[str, Record] = {}
        cursor: str | None = None
        while True:
            page = await self._broker.find(Filter(), cursor=cursor, limit=_CHUNK)
            for record in await self._broker.get([record.ref for record in page.records]):
                if record is not None:
                    found[record.job.id] = record
            cursor = page.cursor
            if cursor is None:
                return found


def _final(stats: Stats) -> int:
    return sum(queue.succeeded + queue.dead + queue.cancelled for queue in stats.queues)


def _unfinished(stats: Stats) -> int:
    return sum(queue.waiting + queue.blocked + queue.running for queue in stats.queues)
