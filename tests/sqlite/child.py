"""A process of its own, started by tests as a program: it does one thing and says what it did.

Each line that it prints was true before it was printed: what it acknowledges was acknowledged to it.
"""

from __future__ import annotations

import itertools
import os
import resource
import sys
import time
from random import Random
from threading import Thread

import anyio

from treadle.broker.base import Applied
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.domain.decide import decide
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Lost, Refused, Succeeded, Write
from treadle.errors import BrokerError, BrokerUnavailable


class Clock:
    """The real time."""

    def time_ms(self) -> int:
        """Return wall-clock time in ms."""
        return int(time.time() * 1_000)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()


def connect(url: str) -> SqliteBroker:
    """Make the broker of a URL."""
    return SqliteBroker(parse(url), Clock())


def say(word: str, *ids: str) -> None:
    """Print at once."""
    print(word, *ids, flush=True)


def succeed(record: Record, now: int) -> Write:
    """Decide on success."""
    written = decide(record, Succeeded(result=b"1"), record.job.policy, now, Random(1))
    assert not isinstance(written, Refused)
    return written


async def drain(url: str, name: str) -> None:
    """Run jobs until none is left and no more will come: `ran` for each whose success was applied."""
    async with connect(url) as store:
        session = (await store.open(name, 60_000, b"{}")).session
        held: list[Record] = []
        now = 0
        while True:
            writes = [succeed(record, now) for record in held]
            turned = await store.turn(session, writes, ["default"], 7)
            for record, result in zip(held, turned.results, strict=True):
                say("ran" if isinstance(result, Applied) else "conflict", record.job.id)
            held, now = list(turned.records), turned.now
            if not held:
                is_over = await store.document("enough") is not None
                claimed = await store.claim(session, ["default"], 7, wait_ms=300)
                held, now = list(claimed.records), claimed.now
                if is_over and not held:
                    return


async def hammer(url: str, name: str) -> None:
    """Enqueue and settle for ever: `stored` and `done` for what was acknowledged."""
    async with connect(url) as store:
        opened = await store.open("hammer", 60_000, b"{}")
        lost = [
            decide(record, Lost(), record.job.policy, opened.now, Random(1))
            for record in opened.inherited
        ]
        await store.apply([write for write in lost if not isinstance(write, Refused)])
        for n in itertools.count():
            jobs = [Job(id=f"{name}-{n}-{k}", type="t", payload=b"1" * 300) for k in range(5)]
            await store.enqueue(jobs)
            say("stored", *(job.id for job in jobs))
            claimed = await store.claim(opened.session, ["default"], 4)
            await store.apply([succeed(record, claimed.now) for record in claimed.records])
            say("done", *(record.job.id for record in claimed.records))


async def pick_up(url: str, name: str) -> None:
    """Wait for jobs, one after another, and never look at the file meanwhile."""
    async with connect(url) as store:
        store.fallback_seconds = 3_600.0  # only the socket can wake it
        session = (await store.open(name, 60_000, b"{}")).session
        await store.claim(session, ["default"], 1, wait_ms=1)
        say("ready")
        while True:
            claimed = await store.claim(session, ["default"], 1, wait_ms=3_600_000)
            say("got", *(record.job.id for record in claimed.records))


async def hit_limit(url: str, name: str) -> None:
    """Write until the system refuses; say what that raises, then write on without the limit."""
    async with connect(url) as store:
        session = (await store.open(name, 60_000, b"{}")).session
        await store.enqueue([Job(id="first", type="t")])
        (first,) = (await store.claim(session, ["default"], 1)).records
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            for n in itertools.count():
                await store.enqueue([Job(id=f"job-{n}", type="t", payload=b"1" * 20_000)])
        except BrokerError as error:
            say(type(error).__name__, str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        settled = await store.apply([succeed(first, first.head.claimed)])
        say("settled", type(settled.results[0]).__name__)


async def fork(url: str, name: str) -> None:
    """Fork with an open broker; parent and child each say what they could do."""
    async with connect(url) as store:
        await store.enqueue([Job(id="before", type="t")])
        say("child", str(_in_child(store, name)))
        await store.enqueue([Job(id="parent", type="t")])
        (record,) = await store.get([Ref("default", "child")])
        say("parent", "sees" if record is not None else "misses", "child")


def _in_child(store: SqliteBroker, name: str) -> int:
    """Fork; do there what a forked worker does, with a loop of its own; return how it ended."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    done: list[str] = []

    def run() -> None:
        anyio.run(_begin_anew, store, name)
        done.append(name)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    os._exit(0 if done else 1)


async def _begin_anew(store: SqliteBroker, name: str) -> None:
    try:
        opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]  # noqa: PTH115, PTH208
    except OSError:
        opened = []
    say("inherits", str(sum("/jobs.db" in path and "wake" not in path for path in opened)))
    try:
        await store.enqueue([Job(id="never", type="t")])
    except BrokerUnavailable as error:
        say("refused", str(error))
    await store.disconnect()
    async with store.another() as own:
        await own.enqueue([Job(id=name, type="t")])


if __name__ == "__main__":
    commands = {
        "drain": drain,
        "hammer": hammer,
        "pick_up": pick_up,
        "fork": fork,
        "hit_limit": hit_limit,
    }
    anyio.run(commands[sys.argv[1]], sys.argv[2], sys.argv[3])
