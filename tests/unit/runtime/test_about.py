"""What a worker says about itself: its handlers with their schemas, within bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from treadle import Jobs
from treadle.runtime.about import OFFERS_BYTES, SCHEMA_BYTES, about, offers_of


def _said(jobs: Jobs) -> bytes:
    return about(jobs.handlers, concurrency=3, queues=["mail", "default"])


def test_handlers_are_told_with_the_schema_of_their_payload() -> None:
    jobs = Jobs("memory://")

    @jobs.handler("mail.send", queue="mail")
    async def send(to: str) -> None:
        """Send a mail.

        Slowly.
        """

    assert callable(send)
    (offer,) = offers_of(_said(jobs))

    assert (offer.type, offer.queue, offer.summary) == ("mail.send", "mail", "Send a mail.")
    assert offer.has_schema
    schema: dict[str, Any] = msgspec.json.decode(offer.schema)
    assert schema["properties"] == {"to": {"type": "string"}}


def test_what_was_told_before_is_told_still() -> None:
    said = msgspec.json.decode(_said(Jobs("memory://")))

    assert {"host", "pid", "python", "concurrency", "queues", "handlers"} < set(said)
    assert (said["concurrency"], said["queues"], said["handlers"]) == (3, ["mail", "default"], 0)


@pytest.mark.parametrize(
    "info",
    [b"{}", b'{"host":"a","handlers":2}', b"", b"[1]", b'{"offers":[{"type":7}]}', b"\xff"],
)
def test_what_tells_no_handlers_has_none(info: bytes) -> None:
    assert offers_of(info) == ()


def _wide(jobs: Jobs, name: str, fields: int) -> None:
    kind = msgspec.defstruct("Wide", [(f"field_{n:04}", str) for n in range(fields)])

    async def handle(wide: Any) -> None:
        del wide

    handle.__annotations__["wide"] = kind
    jobs.handler(name)(handle)


def test_a_schema_that_is_too_large_is_left_out_alone() -> None:
    jobs = Jobs("memory://")
    _wide(jobs, "large", SCHEMA_BYTES // 20)
    _wide(jobs, "small", 3)

    large, small = offers_of(_said(jobs))

    assert (large.type, large.has_schema) == ("large", False)
    assert small.has_schema


def test_many_handlers_take_no_more_room_than_they_may() -> None:
    jobs = Jobs("memory://")
    for number in range(1_000):
        _wide(jobs, f"handler-{number:04}", 5)

    said = _said(jobs)
    offers = offers_of(said)

    assert len(said) < OFFERS_BYTES + 1_000
    assert msgspec.json.decode(said)["handlers"] == 1_000
    assert 300 < len(offers) < 1_000
    assert [one.type for one in offers] == [f"handler-{n:04}" for n in range(len(offers))]
