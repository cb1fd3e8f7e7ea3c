"""Bytes that cannot be read are data: they come back as a fault, and hurt nobody else."""

from __future__ import annotations

import msgspec
import pytest

from tests.contract.adapters import Adapter
from treadle.broker.base import Broker, Filter
from treadle.conformance.hand import Hand, ids, known, make_job, ref, stored
from treadle.domain.job import After, ErrorInfo, Fault, FaultCode, Record, Ref
from treadle.domain.limits import RAW_BYTES
from treadle.domain.outcome import Rejected, Snoozed
from treadle.domain.state import Reason, State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

GARBAGE = b"\x80\x04\x95\xff not a body"
WRONG_SHAPE = b'{"v":1,"type":[]}'
NEWER = b'{"v":99,"type":"email.send","shape":"unknown"}'

SPOILED = Ref("default", "spoiled")


@pytest.fixture
async def spoiled(broker: Broker, adapter: Adapter, request: pytest.FixtureRequest) -> bytes:
    """Store a job whose body is overwritten, between two good ones."""
    body: bytes = getattr(request, "param", GARBAGE)
    await stored(broker, make_job("before"), make_job(SPOILED.id), make_job("behind"))
    await adapter.spoil(broker, SPOILED, body)
    return body


def fault(record: Record) -> Fault:
    """Return what is wrong with a record."""
    assert record.fault is not None
    return record.fault


@pytest.mark.parametrize(
    ("spoiled", "code"),
    [
        (GARBAGE, FaultCode.UNDECODABLE),
        (WRONG_SHAPE, FaultCode.BAD_ENVELOPE),
        (NEWER, FaultCode.UNSUPPORTED_VERSION),
        (b"", FaultCode.UNDECODABLE),
        (b"null", FaultCode.BAD_ENVELOPE),
        (b"[" * 100_000, FaultCode.UNDECODABLE),
    ],
    indirect=["spoiled"],
    ids=["garbage", "wrong-shape", "newer", "empty", "null", "deep"],
)
async def test_a_spoiled_job_is_claimed_with_what_is_wrong(
    hand: Hand, spoiled: bytes, code: FaultCode
) -> None:
    claimed = await hand.claim()

    assert ids(claimed) == ["before", "spoiled", "behind"]
    assert fault(claimed[1]).code is code
    assert fault(claimed[1]).raw == spoiled[:RAW_BYTES]
    assert fault(claimed[1]).detail
    assert [record.fault for record in claimed[::2]] == [None, None]


async def test_a_spoiled_job_still_has_its_identity(hand: Hand, spoiled: bytes) -> None:
    _, record, _ = await hand.claim()

    assert record.ref == SPOILED
    assert (record.head.state, record.head.attempt) == (State.RUNNING, 1)


async def test_a_spoiled_job_can_be_put_among_the_dead_letters(
    broker: Broker, hand: Hand, spoiled: bytes
) -> None:
    _, record, _ = await hand.claim()
    error = ErrorInfo(type="Undecodable", message=fault(record).detail)

    await hand.end(record, Rejected(reason=Reason.UNDECODABLE, error=error))

    found = await known(broker, SPOILED)
    assert (found.head.state, found.head.reason) == (State.DEAD, "undecodable")
    assert fault(found).raw == spoiled


async def test_a_spoiled_job_can_wait_for_a_newer_worker(
    broker: Broker, hand: Hand, spoiled: bytes
) -> None:
    _, record, _ = await hand.claim()

    await hand.end(record, Snoozed(due=After(0)))

    assert fault(await hand.claim_one()).raw == spoiled


async def test_a_spoiled_job_is_listed_counted_and_read(broker: Broker, spoiled: bytes) -> None:
    page = await broker.find(Filter(queue="default"))

    assert ids(page.records) == ["behind", "spoiled", "before"]
    assert (await broker.stats()).queues[0].waiting == 3
    assert fault(await known(broker, SPOILED)).raw == spoiled


async def test_a_spoiled_job_of_a_dead_worker_is_overdue(
    broker: Broker, hand: Hand, spoiled: bytes
) -> None:
    await hand.claim()
    await broker.close(hand.session)

    records = (await broker.overdue(10)).records

    assert sorted(ids(records)) == ["before", "behind", "spoiled"]


async def test_a_field_that_a_later_version_added_is_ignored(
    broker: Broker, adapter: Adapter, hand: Hand
) -> None:
    job = make_job("a")
    await stored(broker, job)
    await adapter.spoil(broker, ref(job), msgspec.json.encode({"v": 1, "type": "t", "more": [1]}))

    record = await hand.claim_one()

    assert (record.fault, record.job.type) == (None, "t")
