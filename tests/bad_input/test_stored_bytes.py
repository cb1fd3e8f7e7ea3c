"""What stands in the store cannot be read, is of another version, or of a type that nobody knows."""

from __future__ import annotations

import pytest

from tests.support.places import Place
from treadle.conformance.clock import DAY, MINUTE
from treadle.domain.limits import RAW_BYTES
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

GARBAGE = b"\x80\x04\x95\xff not a body"
NEWER = b'{"v":99,"type":"mail","shape":"unknown"}'


async def _between_good_ones(place: Place, body: bytes) -> list[str]:
    @place.jobs.handler("mail")
    async def mail() -> str:
        return "sent"

    ids = [await place.store("mail") for _ in range(3)]
    await place.spoil(ids[1], body)
    return ids


@pytest.mark.parametrize(
    "body",
    [GARBAGE, b"", b"[" * 100_000, b'{"v":1', GARBAGE * 1_000],
    ids=["pickle", "empty", "deep", "cut", "long"],
)
async def test_bytes_that_nobody_can_read_are_dead_and_kept_as_hex(
    place: Place, body: bytes
) -> None:
    before, spoiled, behind = await _between_good_ones(place, body)

    worker = await place.burst()

    assert await place.states([before, spoiled, behind]) == [
        State.SUCCEEDED,
        State.DEAD,
        State.SUCCEEDED,
    ]
    record = await place.get(spoiled)
    assert record.head.reason == "undecodable"
    assert record.history[0].error is not None
    assert record.history[0].error.message
    assert record.history[0].error.traceback == f"raw: {body[:RAW_BYTES].hex()}"
    assert worker.report.dead == 1


@pytest.mark.parametrize(
    "body", [b"null", b"[1]", b'{"v":1,"type":[]}'], ids=["null", "list", "type"]
)
async def test_a_body_of_the_wrong_shape_is_dead(place: Place, body: bytes) -> None:
    before, spoiled, behind = await _between_good_ones(place, body)

    await place.burst()

    assert await place.states([before, behind]) == [State.SUCCEEDED] * 2
    record = await place.get(spoiled)
    assert (record.head.state, record.head.reason) == (State.DEAD, "bad_envelope")
    assert record.history[0].error is not None
    assert record.history[0].error.message


async def test_a_record_of_a_newer_version_waits_without_end(place: Place) -> None:
    _, newer, _ = await _between_good_ones(place, NEWER)

    workers = [await place.burst()]
    for pause in (MINUTE, 20 * MINUTE, DAY, 20 * DAY):
        place.clock.advance(pause)
        workers.append(await place.burst())

    record = await place.get(newer)
    assert (record.head.state, record.head.reason) == (State.WAITING, "unsupported_version")
    assert (record.head.attempt, record.head.deaths) == (0, 0)
    assert [worker.report.parked for worker in workers] == [1] * 5
    assert workers[0].report.succeeded == 2


@pytest.mark.contract("F11")
async def test_an_unknown_type_is_parked_ever_longer_and_dead_after_ten_minutes(
    place: Place,
) -> None:
    @place.jobs.handler("known")
    async def known() -> None: ...

    id = await place.store("unknown")
    good = await place.store("known")
    first, looks, parked = 0, 0, 0

    def park_until(now: int) -> int:
        return now + min(now - (first or now) + 1_000, 30_000)

    while (record := await place.get(id)).head.state is State.WAITING:
        place.clock.advance(max(record.head.due - place.clock.time_ms(), 0) + 1)
        worker = await place.burst()
        parked += worker.report.parked
        record = await place.get(id)
        if record.head.state is State.WAITING:
            assert (record.head.reason, record.head.attempt) == ("unknown_type", 0)
            # It was put back at some instant since it was claimed.
            claimed, now = record.head.claimed, place.clock.time_ms()
            assert park_until(claimed) <= record.head.due <= park_until(now)
            first, looks = record.head.parked, looks + 1

    assert (record.head.state, record.head.reason) == (State.DEAD, "unknown_type")
    assert parked == looks
    assert 20 <= looks <= 25
    assert 10 * MINUTE <= record.head.finished - record.created < 11 * MINUTE
    assert await place.states([good]) == [State.SUCCEEDED]


async def test_an_unknown_type_runs_when_a_worker_comes_that_knows_it(place: Place) -> None:
    id = await place.store("later")
    await place.burst()

    @place.jobs.handler("later")
    async def later() -> str:
        return "at last"

    place.clock.advance(MINUTE)
    await place.burst()

    record = await place.get(id)
    assert (record.head.state, record.head.attempt) == (State.SUCCEEDED, 1)
