"""Several processes on one file: none is lost, none runs twice, and a kill tears nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.sqlite import look
from tests.support.attempts import until
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.state import State

pytestmark = pytest.mark.anyio

CHILD = str(Path(__file__).with_name("child.py"))


class Child:
    """A started `child.py`, and the lines that it prints."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._text = TextReceiveStream(process.stdout)
        self._rest = ""

    async def line(self) -> list[str]:
        """Return the words of the next line; none at the end."""
        while "\n" not in self._rest:
            try:
                self._rest += await self._text.receive()
            except anyio.EndOfStream:
                return []
        line, _, self._rest = self._rest.partition("\n")
        return line.split()

    async def lines(self) -> list[list[str]]:
        """Return all lines up to the end."""
        found: list[list[str]] = []
        while line := await self.line():
            found.append(line)
        return found


@asynccontextmanager
async def started(command: str, file: Path, name: str) -> AsyncGenerator[Child]:
    """Run a child; it is killed at the latest when the test is done with it."""
    url = f"sqlite:///{file}"
    process = await anyio.open_process([sys.executable, CHILD, command, url, name], stderr=None)
    try:
        yield Child(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@pytest.mark.promise(1, 4)
async def test_processes_that_claim_from_one_file_run_each_job_once(
    file: Path, broker: SqliteBroker
) -> None:
    names = [f"job-{number:04}" for number in range(600)]
    ran: list[str] = []
    await stored(broker, *(make_job(name) for name in names[:300]))

    async def run(name: str) -> None:
        async with started("drain", file, name) as child:
            ran.extend(f"{word} {job}" for word, job in await child.lines())

    with anyio.fail_after(240):
        async with anyio.create_task_group() as group:
            for name in ("one", "two", "three"):
                group.start_soon(run, name)
            for start in range(300, 600, 50):
                await stored(broker, *(make_job(name) for name in names[start : start + 50]))
            await broker.put_document("enough", b"{}", 0)

    assert Counter(ran) == Counter(f"ran {name}" for name in names)
    assert look.counted(file) == look.scanned(file) == {"default": (0, 0, 0, 600, 0, 0)}


@pytest.mark.promise(1, 2, 15)
async def test_a_kill_in_the_middle_of_commits_loses_nothing_that_was_acknowledged(
    file: Path, broker: SqliteBroker
) -> None:
    accepted: set[str] = set()
    done: set[str] = set()

    for number, acknowledged in enumerate((3, 40, 17, 90)):
        async with started("hammer", file, f"round{number}") as child:
            with anyio.fail_after(300):
                for _ in range(acknowledged):
                    word, *ids = await child.line()
                    (accepted if word == "stored" else done).update(ids)
            child.process.kill()
            for word, *ids in await child.lines():
                (accepted if word == "stored" else done).update(ids)

        assert await anyio.to_thread.run_sync(look.is_sound, file)
        assert look.counted(file) == look.scanned(file)

    names = sorted(accepted | done)  # a kill may come between the commit and its acknowledgment
    found = await broker.get([Ref("default", name) for name in names])
    records = dict(zip(names, found, strict=True))
    assert [name for name, record in records.items() if record is None] == []
    states = {name: record.head.state for name, record in records.items() if record is not None}
    assert {states[name] for name in done} == {State.SUCCEEDED}


async def test_a_waiting_process_is_woken_by_a_signal_not_by_looking(
    file: Path, broker: SqliteBroker
) -> None:
    async with started("pick_up", file, "waiter") as child:
        with anyio.fail_after(300):
            assert await child.line() == ["ready"]
            for number in range(20):
                await stored(broker, make_job(f"job-{number}"))
                assert await child.line() == ["got", f"job-{number}"]


async def test_a_reader_of_events_is_woken_by_the_commits_of_others(broker: SqliteBroker) -> None:
    broker.fallback_seconds = 3_600.0
    start = (await broker.events(None)).cursor
    seen: list[str] = []

    async def read() -> None:
        events = await broker.events(start, wait_ms=3_600_000)
        seen.extend(entry.id for entry in events.entries)

    with anyio.fail_after(300):
        async with anyio.create_task_group() as group, broker.another() as other:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await stored(other, make_job("a"))

    assert seen == ["a"]


class CountingClock(MovableClock):
    """Counts how often a broker asks for the time: once in each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def time_ms(self) -> int:
        self.asked += 1
        return super().time_ms()


async def test_a_waiting_claim_is_not_disturbed_by_other_queues(
    file: Path, broker: SqliteBroker
) -> None:
    clock = CountingClock()
    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as mine:
        mine.fallback_seconds = 3_600.0
        hand = await Hand.open(mine)
        before = clock.asked
        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                group.start_soon(mine.claim, hand.session, ["mine"], 1, 3_600_000)
                await until(lambda: clock.asked > before)  # it has looked, and waits
                for _ in range(5):
                    await stored(broker, make_job(queue="theirs"))
                await anyio.wait_all_tasks_blocked()
                await stored(broker, make_job(queue="mine"))

        assert clock.asked - before == 2


async def test_an_error_of_the_disk_is_unavailable_or_uncertain_and_passes(file: Path) -> None:
    async with started("hit_limit", file, "worker") as child:
        with anyio.fail_after(300):
            lines = await child.lines()

    raised, settled = lines
    assert raised[0] in {"Uncertain", "BrokerUnavailable"}
    assert f"{file}:" in raised
    assert settled == ["settled", "Applied"]
    assert await anyio.to_thread.run_sync(look.is_sound, file)
    assert look.counted(file) == look.scanned(file)


async def test_a_fork_leaves_the_file_to_the_parent_and_lets_the_child_begin_anew(
    file: Path,
) -> None:
    async with started("fork", file, "child") as child:
        with anyio.fail_after(300):
            lines = await child.lines()

    assert ["inherits", "0"] in lines
    assert ["child", "0"] in lines
    assert ["parent", "sees", "child"] in lines
    refused = next(" ".join(line) for line in lines if line[0] == "refused")
    assert "before the process forked" in refused
    assert await anyio.to_thread.run_sync(look.is_sound, file)
    ids = {row[0] for row in await look.on(file, "SELECT id FROM job")}
    assert ids == {"before", "child", "parent"}
