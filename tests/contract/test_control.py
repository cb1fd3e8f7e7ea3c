"""Limits as numbers, and small documents with compare-and-set."""

from __future__ import annotations

import anyio
import pytest

from treadle.broker.base import Broker, Document
from treadle.errors import TooLarge

pytestmark = pytest.mark.anyio


async def written(broker: Broker, name: str, data: bytes, version: int = 0) -> Document:
    """Write a document, which must be accepted."""
    document = await broker.put_document(name, data, version)
    assert document is not None
    assert document.data == data
    return document


async def test_a_document_is_read_back_as_written(broker: Broker) -> None:
    document = await written(broker, "schedule/nightly é", b"\x00\xff{}")

    assert await broker.document("schedule/nightly é") == document
    assert document.version > 0


async def test_an_unknown_document_is_none(broker: Broker) -> None:
    assert await broker.document("nothing") is None


async def test_a_version_grows_with_every_write(broker: Broker) -> None:
    first = await written(broker, "a", b"1")
    second = await written(broker, "a", b"1", first.version)

    assert second.version > first.version


async def test_a_write_against_another_version_changes_nothing(broker: Broker) -> None:
    first = await written(broker, "a", b"1")
    second = await written(broker, "a", b"2", first.version)

    answer = await broker.put_document("a", b"3", first.version)

    assert answer == second
    assert await broker.document("a") == second


async def test_a_document_that_exists_is_not_created_again(broker: Broker) -> None:
    first = await written(broker, "a", b"1")

    assert await broker.put_document("a", b"2", 0) == first


async def test_a_document_that_is_absent_has_no_other_version(broker: Broker) -> None:
    assert await broker.put_document("a", b"1", 7) is None
    assert await broker.document("a") is None


async def test_a_document_is_removed_under_its_version(broker: Broker) -> None:
    document = await written(broker, "a", b"1")

    assert await broker.put_document("a", None, document.version + 1) == document
    assert await broker.put_document("a", None, document.version) is None
    assert await broker.document("a") is None


async def test_a_removed_document_can_be_written_again(broker: Broker) -> None:
    first = await written(broker, "a", b"1")
    await broker.put_document("a", None, first.version)

    second = await written(broker, "a", b"2")

    assert await broker.document("a") == second


async def test_documents_are_listed_by_prefix_and_name(broker: Broker) -> None:
    for name in ("cron/b", "cron/a", "cron_x", "token/a", "cron%"):
        await written(broker, name, name.encode())

    names = [document.name for document in await broker.documents("cron/")]
    everything = [document.name for document in await broker.documents("")]

    assert names == ["cron/a", "cron/b"]
    assert everything == ["cron%", "cron/a", "cron/b", "cron_x", "token/a"]


async def test_documents_are_at_most_64_kib(broker: Broker) -> None:
    await written(broker, "full", b"x" * 64 * 1024)

    with pytest.raises(TooLarge):
        await broker.put_document("more", b"x" * (64 * 1024 + 1), 0)

    assert await broker.document("more") is None


async def test_of_writers_with_the_same_version_one_wins(broker: Broker) -> None:
    winners: list[bytes] = []

    async def write(data: bytes) -> None:
        answer = await broker.put_document("a", data, 0)
        assert answer is not None
        if answer.data == data:
            winners.append(data)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(write, str(number).encode())

    document = await broker.document("a")
    assert document is not None
    assert winners == [document.data]


async def test_every_limit_that_is_set_is_shown(broker: Broker) -> None:
    await broker.set_limit("smtp", 3)
    await broker.set_queue_limit("mail", 100)
    await broker.set_limit("gone", 1)
    await broker.set_limit("gone", None)
    await broker.set_queue_limit("gone", 1)
    await broker.set_queue_limit("gone", None)
    await broker.set_limit("smtp", 2)

    assert set(await broker.limits()) == {("key", "smtp", 2), ("queue", "mail", 100)}


async def test_lifting_a_limit_that_is_not_set_is_harmless(broker: Broker) -> None:
    await broker.set_limit("smtp", None)
    await broker.set_queue_limit("mail", None)

    assert list(await broker.limits()) == []


async def test_what_was_set_survives_the_broker_that_set_it(broker: Broker) -> None:
    document = await written(broker, "a", b"1")
    await broker.set_limit("smtp", 3)
    await broker.set_queue_limit("mail", 100)
    await broker.pause("mail", True)
    await broker.disconnect()

    async with broker.another() as later:
        assert await later.document("a") == document
        assert set(await later.limits()) == {("key", "smtp", 3), ("queue", "mail", 100)}
        assert [queue.paused for queue in (await later.stats()).queues] == [True]
