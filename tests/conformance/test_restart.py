"""A server that restarts: what was answered is still there, and what is forgotten is found out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from treadle.broker.base import Broker, Clock
from treadle.broker.memory import MemoryBroker
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import BrokerUrl
from treadle.conformance import Subject
from treadle.conformance.campaign import run
from treadle.conformance.model import Disagreement
from treadle.conformance.program import (
    Claim,
    Enqueue,
    Hung,
    NewJob,
    Op,
    Pause,
    Restart,
    script,
    try_program,
)
from treadle.conformance.program.scenes import kinds

RESTARTED: tuple[Op, ...] = (
    Enqueue((NewJob(id="a"),)),
    Pause("one", True),
    Restart(),
    Claim(worker="ada"),
)


class File:
    """A SQLite file, and everybody who has it open; it restarts as a server does: all are cut off."""

    def __init__(self, folder: Path) -> None:
        self.open: list[Broker] = []
        self.restarts = 0
        self.subject = Subject(
            f"sqlite:///{folder}/jobs.db", make=self.make, restart=self.restart, movable=True
        )

    def make(self, url: BrokerUrl, clock: Clock) -> Broker:
        return Guest(url, clock, self)

    async def restart(self) -> None:
        self.restarts += 1
        for guest in list(self.open):
            await guest.disconnect()


class Guest(SqliteBroker):
    """Says to its file when it has it open."""

    def __init__(self, url: BrokerUrl, clock: Clock, file: File) -> None:
        super().__init__(url, clock)
        self.file = file

    def another(self) -> SqliteBroker:
        return Guest(self.url, self._clock, self.file)

    async def connect(self) -> None:
        await super().connect()
        self.file.open.append(self)

    async def disconnect(self) -> None:
        await super().disconnect()
        if self in self.file.open:
            self.file.open.remove(self)


Forget = Callable[[Broker], Awaitable[None]]


async def forget_pauses(broker: Broker) -> None:
    for queue in (await broker.stats()).queues:
        await broker.pause(queue.queue, False)


async def forget_limits(broker: Broker) -> None:
    for kind, name, _ in await broker.limits():
        await (broker.set_limit if kind == "key" else broker.set_queue_limit)(name, None)


async def forget_documents(broker: Broker) -> None:
    for document in await broker.documents(""):
        await broker.put_document(document.name, None, document.version)


async def forget_sessions(broker: Broker) -> None:
    for session in await broker.sessions():
        await broker.close(session.session)


async def forget_nothing(broker: Broker) -> None:
    await broker.describe()


class Server:
    """A server that keeps all but one thing when it restarts."""

    def __init__(self, forget: Forget, *, restarts: bool = True) -> None:
        self.brokers: list[Broker] = []
        self.forget = forget
        self.subject = Subject(
            "memory://", make=self.make, restart=self.restart if restarts else None, movable=True
        )

    def make(self, url: BrokerUrl, clock: Clock) -> Broker:
        """Make the first broker of a new store: the others come from it."""
        self.brokers = [MemoryBroker(url, clock)]
        return self.brokers[0]

    async def restart(self) -> None:
        await self.forget(self.brokers[0])


def test_a_file_that_is_closed_and_opened_again_has_kept_everything(tmp_path: Path) -> None:
    file = File(tmp_path)

    outcome = run(file.subject, 25, seed=4)

    assert outcome.found is None, script(outcome.found.program, outcome.found.error)
    assert file.open == []


@pytest.mark.anyio
async def test_a_file_keeps_what_each_scene_with_a_restart_asks_for(tmp_path: Path) -> None:
    file = File(tmp_path)
    scenes = dict.fromkeys(kinds()["restarts"])

    for scene in scenes:
        await try_program(file.subject, scene)

    assert file.restarts == len(scenes)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "forget", [forget_pauses, forget_limits, forget_documents, forget_sessions]
)
async def test_some_scene_shows_what_is_forgotten_at_a_restart(forget: Forget) -> None:
    for scene in kinds()["restarts"]:
        try:
            await try_program(Server(forget).subject, scene)
        except Disagreement:
            return
    raise AssertionError("no scene found it out")


def test_what_is_forgotten_at_a_restart_is_found_by_generated_programs() -> None:
    outcome = run(Server(forget_sessions).subject, 1_000, seed=1, shrink=False)

    assert outcome.found is not None
    assert outcome.found.kind == "Disagreement"
    assert Restart() in outcome.found.program


def test_nobody_is_blamed_for_a_restart_that_keeps_everything() -> None:
    outcome = run(Server(forget_nothing).subject, 60, seed=1)

    assert outcome.found is None, script(outcome.found.program, outcome.found.error)


@pytest.mark.anyio
async def test_without_a_way_to_restart_the_step_does_nothing() -> None:
    await try_program(Server(forget_pauses, restarts=False).subject, RESTARTED)

    with pytest.raises(AssertionError, match="paused"):
        await try_program(Server(forget_pauses).subject, RESTARTED)


@pytest.mark.anyio
async def test_a_restart_may_take_longer_than_an_answer() -> None:
    came_back = anyio.Event()

    async def slowly(broker: Broker) -> None:
        await anyio.sleep(4)
        came_back.set()

    await try_program(Server(slowly).subject, RESTARTED, step_limit_s=3)

    assert came_back.is_set()


@pytest.mark.anyio
async def test_a_server_that_does_not_come_back_is_a_failing_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("treadle.conformance.program.trial.RESTART_LIMIT_S", 0.2)

    async def never(broker: Broker) -> None:
        await anyio.sleep_forever()

    with pytest.raises(Hung, match=r"operation 2, Restart\(\): no end within 0.2 s"):
        await try_program(Server(never).subject, RESTARTED, step_limit_s=0.1)
