"""Rows that make no sense: they become records with a fault, and stop nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sqlite import look
from treadle.broker.base import Applied, Filter
from treadle.broker.sqlite import SqliteBroker
from treadle.conformance.hand import Hand, ids, make_job, ref, stored, write
from treadle.domain.job import ErrorInfo, FaultCode, Priority
from treadle.domain.outcome import Rejected
from treadle.domain.state import Reason, State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

GARBAGE = [
    "attempt = 'many'",
    "attempt = x'ff00'",
    "fence = 'x'",
    "created = x'00'",
    "expires = 'never'",
    "more = 'not json'",
    "more = 17",
    'more = \'{"deaths": "three"}\'',
]
OVERWRITTEN = ["claimed = 1.5", "session = 'somebody'", "cancel = 'maybe'", "blocked_on = x'ff'"]


@pytest.mark.parametrize("assignment", GARBAGE)
async def test_a_head_that_makes_no_sense_is_claimed_with_a_fault_and_can_be_buried(
    file: Path, broker: SqliteBroker, hand: Hand, assignment: str
) -> None:
    await stored(broker, make_job("bad"), make_job("good"))
    await look.on(file, f"UPDATE job SET {assignment} WHERE id = 'bad'")  # noqa: S608 # of ours

    records = {record.job.id: record for record in await hand.claim(10)}
    bad = records["bad"]
    error = ErrorInfo(type="Fault")
    burial = write(bad, Rejected(reason=Reason.BAD_ENVELOPE, error=error), bad.head.claimed)
    settled = await broker.apply([burial, look.success(records["good"])])

    assert bad.fault is not None
    assert bad.fault.code is FaultCode.BAD_ENVELOPE
    assert records["good"].fault is None
    assert all(isinstance(answer, Applied) for answer in settled.results)
    assert look.counted(file) == look.scanned(file) == {"default": (0, 0, 0, 1, 1, 0)}


@pytest.mark.parametrize("assignment", OVERWRITTEN)
async def test_what_a_claim_overwrites_need_not_make_sense(
    file: Path, broker: SqliteBroker, hand: Hand, assignment: str
) -> None:
    await stored(broker, make_job("bad"), make_job("good"))
    await look.on(file, f"UPDATE job SET {assignment} WHERE id = 'bad'")  # noqa: S608 # of ours

    records = await hand.claim(10)
    settled = await broker.apply([look.success(record) for record in records])

    assert ids(records) == ["bad", "good"]
    assert all(isinstance(answer, Applied) for answer in settled.results)
    assert look.counted(file) == look.scanned(file) == {"default": (0, 0, 0, 2, 0, 0)}


@pytest.mark.parametrize("assignment", ["id = x'ff41'", "id = CAST(x'ff41' AS TEXT)"])
async def test_an_id_that_is_no_text_is_replaced_by_one_that_can_be_named(
    file: Path, broker: SqliteBroker, hand: Hand, assignment: str
) -> None:
    await stored(broker, make_job("bad"), make_job("good"))
    await look.on(file, f"UPDATE job SET {assignment} WHERE id = 'bad'")  # noqa: S608 # of ours

    records = await hand.claim(10)

    bad = next(record for record in records if record.fault is not None)
    assert bad.job.id.startswith("garbled:")
    (found,) = await broker.get([ref(bad.job)])
    assert found is not None
    assert found.head.state is State.RUNNING


@pytest.mark.parametrize(
    "assignment",
    ["state = 77", "state = 'dead'", "state = NULL", "prio = 9", "due = 'soon'", "queue = 99"],
)
async def test_a_row_that_no_claim_can_find_stops_no_other(
    file: Path, broker: SqliteBroker, hand: Hand, assignment: str
) -> None:
    await stored(broker, make_job("bad"), make_job("good"))
    table = "UPDATE OR IGNORE job" if "NULL" in assignment else "UPDATE job"
    await look.on(file, f"{table} SET {assignment} WHERE id = 'bad'")

    records = await hand.claim(10)
    page = await broker.find(Filter())
    await broker.get([ref(make_job("bad"))])
    await broker.stats()
    await broker.overdue(10)

    assert "good" in ids(records)
    assert "good" in ids(page.records)


async def test_a_row_without_its_body_is_undecodable(
    file: Path, broker: SqliteBroker, hand: Hand
) -> None:
    await stored(broker, make_job("bad", priority=Priority.HIGH), make_job("good"))
    await look.on(file, "DELETE FROM spec WHERE seq = (SELECT seq FROM job WHERE id = 'bad')")

    records = await hand.claim(10)

    assert ids(records) == ["bad", "good"]
    assert records[0].fault is not None
    assert records[0].fault.code is FaultCode.UNDECODABLE


async def test_unreadable_history_and_events_are_shown_as_such_or_skipped(
    file: Path, broker: SqliteBroker, hand: Hand
) -> None:
    job = make_job("a")
    start = (await broker.events(None)).cursor
    await stored(broker, job)
    await broker.apply([look.success(await hand.claim_one())])
    await look.on(file, "UPDATE job SET last = x'ff'")
    await look.on(file, "UPDATE event SET data = x'ff' WHERE last = 1")

    (record,) = await broker.get([ref(job)])
    events = await broker.events(start)

    assert record is not None
    assert [line.event for line in record.history] == ["unreadable"]
    assert [entry.event for entry in events.entries] == ["claim", "succeed"]
