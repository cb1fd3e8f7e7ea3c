"""A folder with a SQLite file, an application and worker processes: what crash tests work with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

from treadle.broker.base import Broker, Duplicate, Filter
from treadle.broker.sqlite import treadle_broker
from treadle.broker.url import parse
from treadle.domain.job import DEFAULT_POLICY, Job, Policy, Record, Ref
from treadle.domain.state import FINAL, State
from treadle.runtime.clock import SystemClock

APP = Path(__file__).with_name("crash_app.py")
QUICK_LEASE = ("--lease", "4s")


class Site:
    """One store and its processes; `close` ends what a test left running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/jobs.db"
        self.processes: list[subprocess.Popen[bytes]] = []
        shutil.copy(APP, folder / "crash_app.py")

    def worker(self, *options: str, name: str = "w1") -> subprocess.Popen[bytes]:
        """Start a worker process of the application."""
        command = [sys.executable, "-m", "treadle", "worker", "crash_app:jobs", "--url", self.url]
        if "--processes" not in options:
            command += ["--name", name]
        log = (self.folder / "worker.log").open("ab")
        process = subprocess.Popen(
            [*command, *options], cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Kill every process that still runs, with its children: each leads a session of its own."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(300)

    def ask(self, question: Callable[[Broker], Any]) -> Any:
        """Run an async question against the store."""

        async def run() -> Any:
            async with treadle_broker(parse(self.url), SystemClock()) as broker:
                return await question(broker)

        return anyio.run(run)

    def enqueue(self, jobs: Sequence[Job]) -> list[str]:
        """Store jobs and return their ids; none may be refused."""

        async def store(broker: Broker) -> None:
            answer = await broker.enqueue(jobs)
            assert not any(isinstance(result, Duplicate) for result in answer.results)

        self.ask(store)
        return [job.id for job in jobs]

    def works(self, count: int, type: str = "work", ms: int = 10) -> list[str]:
        """Store `count` jobs that take `ms` each."""
        payload = b'{"ms": %d}' % ms
        return self.enqueue([make(f"{type}-{n}", type, payload) for n in range(count)])

    def records(self, ids: Sequence[str]) -> list[Record]:
        """Return the records of the ids; each must be there."""

        async def read(broker: Broker) -> list[Record]:
            found = await broker.get([Ref("default", id) for id in ids])
            assert all(record is not None for record in found), "an accepted job is gone"
            return [record for record in found if record is not None]

        records: list[Record] = self.ask(read)
        return records

    def wait(
        self, enough: Callable[[list[Record]], bool], ids: Sequence[str], timeout: float = 400
    ) -> list[Record]:
        """Wait, by the event log, until the records of `ids` are as `enough` wants them."""

        async def watch(broker: Broker) -> list[Record]:
            cursor = (await broker.events(None)).cursor
            records: list[Record] = []
            with anyio.move_on_after(timeout):
                while True:
                    found = await broker.get([Ref("default", id) for id in ids])
                    records = [record for record in found if record is not None]
                    if len(records) == len(ids) and enough(records):
                        return records
                    cursor = (await broker.events(cursor, wait_ms=500)).cursor
            log = (self.folder / "worker.log").read_text()[-3000:]
            states = Counter(record.head.state.name for record in records)
            raise AssertionError(f"not in {timeout} s: {states}\n{log}")

        result: list[Record] = self.ask(watch)
        return result

    def until_final(self, ids: Sequence[str], timeout: float = 400) -> list[Record]:
        """Wait until every job is final."""
        return self.wait(lambda all_: all(r.head.state in FINAL for r in all_), ids, timeout)

    def until_done(self, ids: Sequence[str], count: int, timeout: float = 400) -> list[Record]:
        """Wait until `count` of the jobs are final."""
        return self.wait(
            lambda all_: sum(r.head.state in FINAL for r in all_) >= count, ids, timeout
        )

    def until_running(
        self, ids: Sequence[str], count: int = 1, timeout: float = 400
    ) -> list[Record]:
        """Wait until `count` of the jobs run."""
        return self.wait(
            lambda all_: sum(r.head.state is State.RUNNING for r in all_) >= count, ids, timeout
        )

    def ran(self) -> list[list[str]]:
        """Return the lines that handlers left: event, job id, pid, attempt."""
        path = self.folder / "ran.log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def pid_of(self, id: str) -> int:
        """Return the process in which a job was started last."""
        return [int(pid) for event, job, pid, _ in self.ran() if (event, job) == ("start", id)][-1]

    async def listed(self, broker: Broker) -> int:
        """Count all records of the store by listing them."""
        count, cursor = 0, None
        while True:
            page = await broker.find(Filter(), cursor=cursor, limit=500)
            count += len(page.records)
            cursor = page.cursor
            if cursor is None:
                return count


def make(id: str, type: str, payload: bytes = b"{}", policy: Policy = DEFAULT_POLICY) -> Job:
    """Make a job of the crash application."""
    return Job(id=id, type=type, payload=payload, policy=policy)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process as the kernel would, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(300)


__all__ = ["QUICK_LEASE", "Site", "kill", "make"]
