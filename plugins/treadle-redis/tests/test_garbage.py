"""Bytes that are not ours, in every structure of a namespace: they hold nobody up, or are named."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from treadle_redis import RedisBroker

from treadle.broker.values import Filter, LogLine, Progress, Step
from treadle.conformance.hand import Hand, act, lease, make_job, stored
from treadle.domain.job import Policy, Record, Ref
from treadle.domain.outcome import Lost, Succeeded
from treadle.domain.unique import Unique
from treadle.errors import TreadleError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Ask = Callable[..., Awaitable[Any]]
Make = Callable[[str], RedisBroker]
GARBAGE = b"\x00\xff not ours \x80"
ADDED = {
    b"hash": ("HSET", GARBAGE, GARBAGE),
    b"list": ("RPUSH", GARBAGE),
    b"set": ("SADD", GARBAGE),
    b"stream": ("XADD", "*", GARBAGE, GARBAGE),
    b"zset": ("ZADD", 0, GARBAGE),
}


async def _fill(broker: RedisBroker) -> Hand:
    """Make use of everything that has a structure of its own; `good` stays to be claimed."""
    hand = await Hand.open(broker)
    await broker.set_limit("k", 1)
    await broker.set_queue_limit("other", 1_000)
    await broker.put_document("schedule", b"{}", 0)
    brief = Policy(retention_ms=0, remember_ms=3_600_000)
    await stored(broker, make_job("gone", policy=brief))
    await hand.end(await hand.claim_one(), Succeeded())
    await broker.purge(10)
    await stored(broker, make_job("done"), make_job("one", key="k"), make_job("two", key="k"))
    record = await hand.claim_one()
    held = lease(record)
    await broker.note(
        hand.session,
        [
            Step(lease=held, name="step", data=b"1"),
            Progress(lease=held, data=b"1"),
            LogLine(lease=held, at=1, text="line"),
        ],
    )
    await hand.end(record, Succeeded())
    await hand.claim(2)  # the second one waits for the key now
    await stored(broker, make_job("parent"), make_job("holder", unique=Unique(key="u")))
    await stored(broker, make_job("child", after=(Ref("default", "parent"),)))
    await stored(broker, make_job("good"))
    return hand


async def _use(broker: RedisBroker, hand: Hand) -> tuple[set[str], list[str]]:
    """Do everything; return which jobs were claimed and settled, and what was said about the rest."""
    said: list[str] = []
    ended: set[str] = set()

    async def tried(work: Awaitable[Any]) -> Any:
        try:
            return await work
        except TreadleError as error:
            said.append(str(error))
            return None

    await tried(broker.enqueue([make_job("new"), make_job("again", unique=Unique(key="u"))]))
    for _ in range(3):
        claimed: list[Record] = await tried(hand.claim(100)) or []
        for record in claimed:
            if await tried(act(broker, record, Succeeded())) is not None:
                ended.add(record.job.id)
    await tried(broker.heartbeat(hand.session, []))
    await tried(broker.overdue(100))
    await tried(broker.purge(100))
    await tried(broker.find(Filter()))
    await tried(broker.get([Ref("default", "good"), Ref("default", "gone")]))
    await tried(broker.notes(Ref("default", "done")))
    await tried(broker.stats())
    await tried(broker.sessions())
    await tried(broker.limits())
    await tried(broker.documents(""))
    await tried(broker.events("0"))
    await tried(broker.open("another", 60_000, b"{}"))
    return ended, said


async def _keys(ask: Ask, broker: RedisBroker) -> list[bytes]:
    keys: list[bytes] = await ask("KEYS", f"{{{broker.url.namespace}*")
    return sorted(keys)


def _kind(key: bytes) -> bytes:
    """Return what a key is for: its name without the namespace and the ids behind."""
    return key.partition(b"}:")[2].partition(b":")[0]


async def _each(
    broker_at: Make, ask: Ask, base: str, kinds: list[bytes], *, whole: bool
) -> list[str]:
    """Spoil structures, each in a filled namespace of its own; return what went wrong."""
    wrong: list[str] = []
    for kind in kinds:
        async with broker_at(f"{base}/?namespace=test-{secrets.token_hex(6)}") as broker:
            hand = await _fill(broker)
            for key in [key for key in await _keys(ask, broker) if _kind(key) == kind]:
                if whole:
                    await ask("SET", key, GARBAGE)
                elif await ask("TYPE", key) == b"hash":
                    for field in await ask("HKEYS", key):
                        await ask("HSET", key, field, GARBAGE)
            ended, said = await _use(broker, hand)
            if "good" not in ended and not said:
                wrong.append(f"{kind!r}: a silent stop")
            wrong += [f"{kind!r}: {text}" for text in said if "\n" in text or "script" in text]
            await broker.erase()
    return wrong


async def _kinds(broker: RedisBroker, ask: Ask, *types: bytes) -> list[bytes]:
    await _fill(broker)
    keys = await _keys(ask, broker)
    return sorted({_kind(key) for key in keys if await ask("TYPE", key) in types})


async def test_garbage_beside_our_entries_holds_nobody_up(broker: RedisBroker, ask: Ask) -> None:
    hand = await _fill(broker)
    for key in await _keys(ask, broker):
        command, *values = ADDED[await ask("TYPE", key)]
        await ask(command, key, *values)

    ended, said = await _use(broker, hand)

    assert all(text.startswith("redis://") and "\n" not in text for text in said), said
    assert {"good", "new", "parent", "holder"} <= ended


async def test_garbage_in_the_place_of_our_values_never_stops_anybody_in_silence(
    broker_at: Make, server: Any, broker: RedisBroker, ask: Ask
) -> None:
    kinds = await _kinds(broker, ask, b"hash")

    assert await _each(broker_at, ask, server.url, kinds, whole=False) == []


async def test_a_structure_of_a_foreign_kind_is_named_or_not_needed(
    broker_at: Make, server: Any, broker: RedisBroker, ask: Ask
) -> None:
    kinds = await _kinds(broker, ask, *ADDED)

    assert await _each(broker_at, ask, server.url, kinds, whole=True) == []


async def test_bytes_that_are_no_session_are_reported_and_the_rest_is_swept(
    broker: RedisBroker, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    spoiled, ended = await Hand.open(broker, "spoiled"), await Hand.open(broker, "ended")
    await stored(broker, make_job("a"), make_job("b"))
    await spoiled.claim_one()
    await ended.claim_one()
    await broker.close(ended.session)
    await ask("HSET", f"{{{broker.url.namespace}}}:s", spoiled.session, GARBAGE)

    found = (await broker.overdue(10)).records
    for record in found:
        await act(broker, record, Lost())
    await broker.purge(10)

    assert {record.job.id for record in found} == {"a", "b"}
    assert "session_unreadable" in caplog.messages
    assert spoiled.session.encode() not in await ask("HKEYS", f"{{{broker.url.namespace}}}:s")
    assert (await broker.stats()).queues[0].running == 0
