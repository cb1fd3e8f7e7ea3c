"""The feed: one reader for all who listen, and what happens when it goes, or somebody is slow."""

from __future__ import annotations

import anyio
from treadle_web.feed import Feed, Listener

from treadle.broker.base import Broker, Clock
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.broker.values import Events
from treadle.domain.job import Job
from treadle.runtime.clock import SystemClock

PATIENCE_S = 60


class Counted(MemoryBroker):
    """Counts how many wait for events at the same time."""

    waiting = 0
    most = 0

    def __init__(self) -> None:
        clock: Clock = SystemClock()
        super().__init__(parse("memory://"), clock)
        self.began = anyio.Event()

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        if wait_ms == 0:
            return await super().events(after, limit=limit)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.began.set()
        try:
            return await super().events(after, limit=limit, wait_ms=wait_ms)
        finally:
            self.waiting -= 1


async def _enqueued(broker: Broker, *ids: str) -> None:
    await broker.enqueue([Job(id=id, type="note.write", payload=b"{}") for id in ids])


async def _heard(listener: Listener, count: int) -> list[str]:
    """Wait for events of so many jobs; a gap is called so."""
    found: list[str] = []
    while len(found) < count:
        chunk = await listener.next(PATIENCE_S)
        assert chunk is not None, found
        found += ["gap"] if chunk.gap else [entry.id for entry in chunk.entries]
    return found


def _feed(broker: Broker, most: int = 100) -> Feed:
    async def connected() -> Broker:
        return broker

    return Feed(connected, most=most, pace_s=0)


def test_all_who_listen_cost_the_store_one_reader() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        listeners = [await feed.listen(None) for _ in range(20)]
        heard: list[list[str]] = []

        async def hear(listener: Listener) -> None:
            heard.append(await _heard(listener, 2))

        async with anyio.create_task_group() as tasks:
            for listener in listeners:
                tasks.start_soon(hear, listener)
            await broker.began.wait()
            await _enqueued(broker, "a")
            await _enqueued(broker, "b")

        assert heard == [["a", "b"]] * 20
        assert (broker.most, broker.waiting) == (1, 0)

    anyio.run(main)


def test_when_the_one_who_reads_goes_another_reads_on() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        first, second = await feed.listen(None), await feed.listen(None)

        async with anyio.create_task_group() as tasks:
            leaving = anyio.CancelScope()

            async def read() -> None:
                with leaving:
                    await first.next(PATIENCE_S)

            tasks.start_soon(read)
            await broker.began.wait()
            tasks.start_soon(second.next, PATIENCE_S)
            broker.began = anyio.Event()
            leaving.cancel()
            first.close()
            await broker.began.wait()
            tasks.cancel_scope.cancel()

        await _enqueued(broker, "a")
        assert await _heard(second, 1) == ["a"]

    anyio.run(main)


def test_nobody_reads_when_nobody_listens() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        listener = await feed.listen(None)
        await listener.next(0.01)

        listener.close()
        await _enqueued(broker, "a")
        late = await feed.listen(None)
        await _enqueued(broker, "b")

        assert broker.waiting == 0
        assert await _heard(late, 1) == ["b"]

    anyio.run(main)


def test_a_listener_that_the_ring_has_left_behind_is_told_of_a_gap() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        slow, quick = await feed.listen(None), await feed.listen(None)
        for number in range(60):  # more chunks than the ring holds
            await _enqueued(broker, str(number))
            assert await _heard(quick, 1) == [str(number)]

        assert await _heard(slow, 1) == ["gap"]
        await _enqueued(broker, "last")
        assert await _heard(slow, 1) == ["last"]

    anyio.run(main)


def test_a_cursor_that_the_ring_has_not_reached_is_waited_for() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        slow = await feed.listen(None)  # another server read on while this one stood here
        await _enqueued(broker, "a", "b", "c")
        ahead = (await broker.events(None)).cursor
        await _enqueued(broker, "d")

        listener = await feed.listen(ahead)
        await _enqueued(broker, "e")

        assert await _heard(listener, 2) == ["d", "e"]
        assert await listener.past() is None  # from here on it hears what all hear
        await _enqueued(broker, "f")
        assert await _heard(listener, 1) == ["f"]
        assert await _heard(slow, 6) == ["a", "b", "c", "d", "e", "f"]

    anyio.run(main)


def test_a_closed_feed_ends_all_who_wait() -> None:
    async def main() -> None:
        broker = Counted()
        feed = _feed(broker)
        listeners = [await feed.listen(None) for _ in range(3)]

        with anyio.fail_after(PATIENCE_S / 2):
            async with anyio.create_task_group() as tasks:
                for listener in listeners:
                    tasks.start_soon(listener.next, PATIENCE_S)
                await broker.began.wait()
                feed.close()

    anyio.run(main)
