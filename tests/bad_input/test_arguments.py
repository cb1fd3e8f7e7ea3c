"""Arguments that do not fit: refused when enqueued, and dead at once if they were stored all the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.places import Place
from treadle.domain.job import Job, Ref
from treadle.domain.limits import PAYLOAD_BYTES, PAYLOAD_BYTES_HARD
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.state import State
from treadle.errors import ConfigurationError, PayloadError, TooLarge
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.signature import Payload
from treadle.settings import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

MISFITS = {
    "wrong type": (b'{"to": 5}', "$.to"),
    "missing": (b"{}", "to"),
    "unknown": (b'{"to": "a", "cc": "b"}', "cc"),
    "null": (b'{"to": null}', "$.to"),
    "constraint": (b'{"to": "a", "times": "many"}', "$.times"),
    "no object": (b'["a"]', "object"),
    "no JSON": (b"hello", ""),
    "empty": (b"", ""),
    "cut": (b'{"to": "a', ""),
    "no UTF-8": (b'{"to": "\xff"}', ""),
    "NaN": (b'{"to": "a", "times": NaN}', ""),
    "surrogate": (b'{"to": "\\ud800"}', ""),
    "deep": (b'{"to": "a", "more": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", ""),
}


def _register(place: Place) -> list[str]:
    ran: list[str] = []

    @place.jobs.handler("mail", retry=5)
    async def mail(to: str, times: int = 1, more: list[Any] | None = None) -> None:
        ran.append(to)

    return ran


async def test_stored_payloads_that_do_not_fit_are_dead_at_once_and_say_why(place: Place) -> None:
    ran = _register(place)
    bad = {name: await place.store("mail", payload) for name, (payload, _) in MISFITS.items()}
    good = await place.store("mail", b'{"to": "ada"}')

    await place.burst(concurrency=3)

    assert await place.states([good]) == [State.SUCCEEDED]
    assert ran == ["ada"]
    for name, (_, named) in MISFITS.items():
        record = await place.get(bad[name])
        assert (record.head.state, record.head.reason) == (State.DEAD, "bad_arguments"), name
        assert record.head.attempt == 1
        (row,) = record.history
        assert row.error is not None
        assert row.error.message.startswith("mail: "), name
        assert named in row.error.message, name


async def test_a_sync_handler_and_one_of_any_payload_are_guarded_too(place: Place) -> None:
    @place.jobs.handler("sync")
    def sync(to: str) -> None: ...

    @place.jobs.handler("any")
    async def anything(payload: Payload) -> None: ...

    deep = b'{"a":' * 1_000 + b"1" + b"}" * 1_000
    ids = [await place.store("sync", b'{"to": 1}'), await place.store("any", deep)]

    await place.burst()

    assert [(await place.get(id)).head.reason for id in ids] == ["bad_arguments"] * 2


async def _whole(number: int) -> None: ...


async def _real(number: float) -> None: ...


async def _any(number: Any) -> None: ...


async def _optional(number: int | None) -> None: ...


def _sync(number: int) -> None: ...


async def _listed(number: list[int]) -> None: ...


@pytest.mark.parametrize("function", [_whole, _real, _any, _optional, _sync, _listed])
async def test_an_integer_beyond_64_bits_is_refused_at_both_ends(
    place: Place, function: Callable[[Any], Any]
) -> None:
    count: AnyHandler = place.jobs.handler("count")(function)
    inside = function is _listed
    number: Any = [2**70] if inside else 2**70
    text = b'{"number": [%d]}' if inside else b'{"number": %d}'

    with pytest.raises(PayloadError, match="more than 64 bits") as caught:
        await count.enqueue(number)
    with pytest.raises(PayloadError, match=r"item 1: .* more than 64 bits"):
        await count.enqueue_many([{"number": [1] if inside else 1}, {"number": number}])
    planted = await place.store("count", text % 2**70)
    allowed = await place.store("count", text % (2**64 - 1))
    await place.burst()

    record = await place.get(planted)
    assert caught.value.path.startswith("$.number")
    assert (record.head.state, record.head.reason) == (State.DEAD, "bad_arguments")
    assert record.history[0].error is not None
    assert "more than 64 bits" in record.history[0].error.message
    assert await place.states([allowed]) == [State.SUCCEEDED]


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _own_member() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED: dict[str, Callable[[], Any]] = {
    "NaN": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "NaN inside": lambda: {"a": [math.nan]},
    "2^70": lambda: 2**70,
    "-2^70 inside": lambda: [-(2**70)],
    "lone surrogate": lambda: "a\ud800b",
    "lone surrogate as key": lambda: {"\udfff": 1},
    "1000 deep": lambda: _nested(1_000),
    "65 deep": lambda: _nested(65),
    "itself": _own_member,
    "an object": object,
}


async def test_values_that_json_cannot_carry_are_refused_and_named(place: Place) -> None:
    @place.jobs.handler("keep")
    async def keep(value: Any) -> None: ...

    for name, make in REFUSED.items():
        with pytest.raises(PayloadError, match="Nothing was enqueued") as caught:
            await place.jobs.find("keep").enqueue(make())
        assert "'value" in str(caught.value) or "too deep" in str(caught.value), name

    assert (await place.broker.stats()).queues == ()


KEPT: dict[str, Any] = {
    "NUL": "a\x00b",
    "2^64-1": 2**64 - 1,
    "-2^63": -(2**63),
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "emoji": "\U0001f9f5",
    "direction": "\u202eevil",
    "escape": "\x1b[2J",
    "60 deep": _nested(60),
    "empty key": {"": None},
}


async def test_odd_values_come_back_as_they_were(place: Place) -> None:
    @place.jobs.handler("keep")
    async def keep(value: Any) -> Any:
        return value

    handler = place.jobs.find("keep")
    kept = {name: await handler.enqueue(value) for name, value in KEPT.items()}
    await place.burst()

    for name, job in kept.items():
        assert await job.result(timeout=300) == KEPT[name], name


async def test_a_wrong_field_is_named_and_nothing_is_enqueued(place: Place) -> None:
    @place.jobs.handler("mail")
    async def mail(to: str) -> None: ...

    with pytest.raises(PayloadError) as caught:
        await mail.enqueue_many([{"to": "ada"}, {"to": 5}, {"to": "eve"}])

    assert caught.value.path == "$.to"
    assert (await place.broker.stats()).queues == ()


async def test_a_payload_over_the_limit_is_refused_in_the_producer(place: Place) -> None:
    ran = _register(place)
    good = await place.store("mail", b'{"to": "ada"}')

    for size in (PAYLOAD_BYTES, 5_000_000):
        with pytest.raises(TooLarge, match="Nothing was enqueued") as caught:
            await place.jobs.find("mail").enqueue("x" * size)
        assert "262,144" in str(caught.value)

    await place.burst()
    assert await place.states([good]) == [State.SUCCEEDED]
    assert ran == ["ada"]


async def test_the_limit_can_be_raised_to_four_mebibytes_and_no_further(place: Place) -> None:
    most = load(environ={}, folder=place.folder, flags={"payload_limit": PAYLOAD_BYTES_HARD})
    with pytest.raises(ConfigurationError, match="payload_limit"):
        load(environ={}, folder=place.folder, flags={"payload_limit": PAYLOAD_BYTES_HARD + 1})
    lengths: list[int] = []
    roomy = Place(place.adapter, place.folder, settings=most)

    @roomy.jobs.handler("mail")
    async def mail(text: str) -> int:
        lengths.append(len(text))
        return len(text)

    async with roomy.opened():
        job = await mail.enqueue("x" * 4_000_000)
        with pytest.raises(TooLarge):
            await mail.enqueue("x" * 5_000_000)
        await roomy.burst()

        assert await job.result(timeout=300) == 4_000_000


async def test_the_store_itself_takes_no_five_megabytes_either(place: Place) -> None:
    job = Job(id="large", type="mail", payload=b'{"to": "%s"}' % (b"x" * 5_000_000))

    (answer,) = (await place.broker.enqueue([job])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.TOO_LARGE
    assert await place.broker.get([Ref("default", "large")]) == [None]


async def test_an_id_or_a_queue_that_is_no_name_is_refused(place: Place) -> None:
    @place.jobs.handler("mail")
    async def mail(to: str) -> None: ...

    for options in ({"id": "a b"}, {"id": "x" * 129}, {"id": "ü"}, {"queue": "a/b"}, {"queue": ""}):
        with pytest.raises(ConfigurationError):
            await mail.options(**options).enqueue("ada")  # type: ignore[arg-type]

    assert (await place.broker.stats()).queues == ()
