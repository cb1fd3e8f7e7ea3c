"""Limits as numbers, and small documents with compare-and-set."""

from __future__ import annotations

import anyio

from treadle.broker.base import Broker, Document
from treadle.conformance.case import case
from treadle.conformance.lab import Lab, raising
from treadle.errors import TooLarge


async def written(broker: Broker, name: str, data: bytes, version: int = 0) -> Document:
    """Write a document, which must be accepted."""
    document = await broker.put_document(name, data, version)
    assert document is not None
    assert document.data == data
    return document


@case("C601", "a document is read back as written")
async def a_document_is_read_back_as_written(lab: Lab) -> None:
    broker = lab.broker
    document = await written(broker, "schedule/nightly é", b"\x00\xff{}")

    assert await broker.document("schedule/nightly é") == document
    assert document.version > 0


@case("C602", "an unknown document is none")
async def an_unknown_document_is_none(lab: Lab) -> None:
    broker = lab.broker
    assert await broker.document("nothing") is None


@case("C603", "a version grows with every write")
async def a_version_grows_with_every_write(lab: Lab) -> None:
    broker = lab.broker
    first = await written(broker, "a", b"1")
    second = await written(broker, "a", b"1", first.version)

    assert second.version > first.version


@case("C604", "a write against another version changes nothing")
async def a_write_against_another_version_changes_nothing(lab: Lab) -> None:
    broker = lab.broker
    first = await written(broker, "a", b"1")
    second = await written(broker, "a", b"2", first.version)

    answer = await broker.put_document("a", b"3", first.version)

    assert answer == second
    assert await broker.document("a") == second


@case("C605", "a document that exists is not created again")
async def a_document_that_exists_is_not_created_again(lab: Lab) -> None:
    broker = lab.broker
    first = await written(broker, "a", b"1")

    assert await broker.put_document("a", b"2", 0) == first


@case("C606", "a document that is absent has no other version")
async def a_document_that_is_absent_has_no_other_version(lab: Lab) -> None:
    broker = lab.broker
    assert await broker.put_document("a", b"1", 7) is None
    assert await broker.document("a") is None


@case("C607", "a document is removed under its version")
async def a_document_is_removed_under_its_version(lab: Lab) -> None:
    broker = lab.broker
    document = await written(broker, "a", b"1")

    assert await broker.put_document("a", None, document.version + 1) == document
    assert await broker.put_document("a", None, document.version) is None
    assert await broker.document("a") is None


@case("C608", "a removed document can be written again")
async def a_removed_document_can_be_written_again(lab: Lab) -> None:
    broker = lab.broker
    first = await written(broker, "a", b"1")
    await broker.put_document("a", None, first.version)

    second = await written(broker, "a", b"2")

    assert await broker.document("a") == second


@case("C609", "documents are listed by prefix and name")
async def documents_are_listed_by_prefix_and_name(lab: Lab) -> None:
    broker = lab.broker
    for name in ("cron/b", "cron/a", "cron_x", "token/a", "cron%"):
        await written(broker, name, name.encode())

    names = [document.name for document in await broker.documents("cron/")]
    everything = [document.name for document in await broker.documents("")]

    assert names == ["cron/a", "cron/b"]
    assert everything == ["cron%", "cron/a", "cron/b", "cron_x", "token/a"]


@case("C610", "documents are at most 64 kib")
async def documents_are_at_most_64_kib(lab: Lab) -> None:
    broker = lab.broker
    await written(broker, "full", b"x" * 64 * 1024)

    with raising(TooLarge):
        await broker.put_document("more", b"x" * (64 * 1024 + 1), 0)

    assert await broker.document("more") is None


@case("C611", "of writers with the same version one wins")
async def of_writers_with_the_same_version_one_wins(lab: Lab) -> None:
    broker = lab.broker
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


@case("C612", "every limit that is set is shown")
async def every_limit_that_is_set_is_shown(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_limit("smtp", 3)
    await broker.set_queue_limit("mail", 100)
    await broker.set_limit("gone", 1)
    await broker.set_limit("gone", None)
    await broker.set_queue_limit("gone", 1)
    await broker.set_queue_limit("gone", None)
    await broker.set_limit("smtp", 2)

    assert set(await broker.limits()) == {("key", "smtp", 2), ("queue", "mail", 100)}


@case("C613", "lifting a limit that is not set is harmless")
async def lifting_a_limit_that_is_not_set_is_harmless(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_limit("smtp", None)
    await broker.set_queue_limit("mail", None)

    assert list(await broker.limits()) == []


@case("C614", "what was set survives the broker that set it")
async def what_was_set_survives_the_broker_that_set_it(lab: Lab) -> None:
    broker = lab.broker
    document = await written(broker, "a", b"1")
    await broker.set_limit("smtp", 3)
    await broker.set_queue_limit("mail", 100)
    await broker.pause("mail", True)
    await broker.disconnect()

    async with broker.another() as later:
        assert await later.document("a") == document
        assert set(await later.limits()) == {("key", "smtp", 3), ("queue", "mail", 100)}
        assert [queue.paused for queue in (await later.stats()).queues] == [True]


@case("C615", "a version is never given twice")
async def a_version_is_never_given_twice(lab: Lab) -> None:
    broker = lab.broker
    first = await written(broker, "a", b"1")
    await broker.put_document("a", None, first.version)

    second = await written(broker, "a", b"2")

    assert second.version > first.version
    assert await broker.put_document("a", b"3", first.version) == second
