"""The copy of the tables: made while they are written, of one moment, by one process at a time."""

# A test looks at what it proves.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from treadle_nats import NatsBroker, private, snapshots
from treadle_nats.commands import Command, Enqueue, Purge
from treadle_nats.copying import Copying
from treadle_nats.questions import Do
from treadle_nats.replica import Replica
from treadle_nats.streams import ready_shelf, stored_last

from treadle.broker.url import parse
from treadle.broker.values import Applied
from treadle.conformance.hand import make_job, stored
from treadle.domain.job import Policy
from treadle.domain.outcome import RefusalCode, Refused
from treadle.errors import BrokerUnavailable
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
SHORT = Policy(retention_ms=0, remember_ms=0)


def _jobs(message: int, count: int = 20) -> list[Command]:
    payload = b'{"x":"' + b"x" * 2_000 + b'"}'
    return [
        Enqueue([make_job(f"job-{message}-{n}", payload=payload, policy=SHORT)])
        for n in range(count)
    ]


def _run(replica: Replica, seq: int, commands: Sequence[Command]) -> None:
    with replica.message(seq):
        replica.run(commands, NOW + seq)


def _contents(replica: Replica) -> list[tuple[Any, ...]]:
    rows = replica.connection.rows
    names = [name for (name,) in rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [(name, sorted(rows(f"SELECT * FROM {name}"), key=repr)) for name in names]  # noqa: S608 - names of our tables


async def test_a_copy_is_of_one_moment_and_says_which_while_the_log_is_read_on() -> None:
    with closing(Replica()) as replica, closing(Replica()) as expected:
        for seq in range(1, 100):
            _run(replica, seq, _jobs(seq))
        target, file = private.make()
        with file:
            copying = asyncio.create_task(Copying(replica, lambda: False).into(target))
            seq = 99
            while not copying.done():
                seq += 1
                _run(replica, seq, _jobs(seq, 1))
                await asyncio.sleep(0)
            last = await copying
        for each in range(1, last + 1):
            _run(expected, each, _jobs(each, 20 if each < 100 else 1))

        with closing(Replica(target)) as copy:
            assert _contents(copy) == _contents(expected)
        assert 100 < last <= seq


async def test_a_copy_that_nobody_wants_any_more_lets_go_of_the_tables() -> None:
    with closing(Replica()) as replica:
        for seq in range(1, 100):
            _run(replica, seq, _jobs(seq))
        target, file = private.make()
        with file, closing(target):
            copying = asyncio.create_task(Copying(replica, lambda: False).into(target))
            await asyncio.sleep(0)
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying

        _run(replica, 100, _jobs(100))
        assert Replica.seq_of(replica.connection.raw) == 100


async def test_a_copy_leaves_out_the_room_of_what_was_purged() -> None:
    with closing(Replica()) as replica:
        for seq in range(1, 100):
            _run(replica, seq, _jobs(seq))
        replica.connection.run("DELETE FROM spec")
        target, file = private.make()
        with file, closing(target):
            await Copying(replica, lambda: True).into(target)
            size = file.seek(0, 2)

    assert size < 2_000_000  # of more than 4 MB


async def test_tables_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with closing(Replica()) as replica:
        _run(replica, 1, [*_jobs(1), Purge(1)])
        target, file = private.make()
        with file, closing(target):
            await Copying(replica, lambda: False).into(target)
            found = os.listdir(tmp_path)  # noqa: PTH208 - a list at once

    assert found == []


async def _save(broker: NatsBroker) -> tuple[bool, bool]:
    """Have the broker's process make a snapshot; return whether there is one, and whether a turn is left."""
    engine = broker._asker.engine()

    async def work() -> tuple[bool, bool]:
        link, log = engine.link, engine.log
        assert link is not None
        assert log is not None
        await snapshots.save(link, log, "test", 0)
        names = (f"{log.life.shelf}.manifest", f"{log.life.shelf}.turn")
        made, turn = [await stored_last(link, broker._address.shelf, name) for name in names]
        return made is not None, turn is not None

    return await broker._asker.ask(Do(work))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
async def test_tables_that_find_no_room_here_are_closed(
    broker: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sqlite3.Connection] = []

    def make() -> tuple[sqlite3.Connection, BinaryIO]:
        raw, file = private.make()
        file.close()
        made.append(raw)
        return raw, open("/dev/full", "r+b", buffering=0)  # noqa: PTH123 - the caller closes it

    async def load() -> None:
        link, log = engine.link, engine.log
        assert link is not None
        assert log is not None
        monkeypatch.setattr(snapshots, "private", SimpleNamespace(make=make))
        with pytest.raises(BrokerUnavailable, match="cannot store the tables"):
            await snapshots.begin(link, log.life)

    await stored(broker, make_job())
    engine = broker._asker.engine()
    await _save(broker)
    await broker._asker.ask(Do(load))

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


async def test_who_makes_a_snapshot_makes_it_alone(broker: NatsBroker) -> None:
    await stored(broker, make_job())
    engine = broker._asker.engine()

    async def begin(age_ms: int) -> None:
        link, log = engine.link, engine.log
        assert link is not None
        assert log is not None
        await ready_shelf(link, log.life)
        assert await snapshots._is_my_turn(link, log)
        log._clock = (log._clock[0] + age_ms, log._clock[1])

    await broker._asker.ask(Do(partial(begin, 0)))
    while_somebody_is_at_it = await _save(broker)
    await broker._asker.ask(Do(partial(_later, broker)))
    when_nobody_came_back = await _save(broker)

    assert while_somebody_is_at_it == (False, True)
    assert when_nobody_came_back == (True, False)


async def _later(broker: NatsBroker) -> None:
    """Let a minute pass."""
    log = broker._asker.engine().log
    assert log is not None
    log._clock = (log._clock[0] + 60_000, log._clock[1])


async def test_a_log_that_nobody_can_cut_takes_no_more_jobs(broker: NatsBroker) -> None:
    await stored(broker, make_job())
    log = broker._asker.engine().log
    assert log is not None

    log.size = 8 * 16 * 1024 * 1024 + 1
    (refused,) = (await broker.enqueue([make_job()])).results
    log.size -= 1024 * 1024  # more than what may still arrive of the first job
    (taken,) = (await broker.enqueue([make_job()])).results

    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.STORAGE_FULL
    assert "nobody cuts it" in refused.detail
    assert isinstance(taken, Applied)


async def test_a_snapshot_holds_what_is_waiting_for_its_other_parts(
    server: Any, namespace: str
) -> None:
    url = f"{server.url}?namespace={namespace}"
    async with NatsBroker(parse(url), SystemClock()) as broker:
        await stored(broker, make_job())
        log = broker._asker.engine().log
        assert log is not None
        with log.replica.message(log.applied):
            assert log.replica.add_part("else", 1, 0, 2, b"half", NOW) is None
        assert (await _save(broker))[0]

    async with NatsBroker(parse(url), SystemClock()) as broker:
        await broker.stats()
        log = broker._asker.engine().log
        assert log is not None
        assert log.replica.add_part("else", 1, 1, 2, b"-whole", NOW) == b"half-whole"
