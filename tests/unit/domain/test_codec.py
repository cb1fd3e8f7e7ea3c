"""Bodies as bytes, and bytes that are no bodies."""

from __future__ import annotations

import json

import pytest

from tests.support.factories import make_job
from treadle.domain.codec import VERSION, Body, Codec, decode_history, encode_history
from treadle.domain.job import Fault, FaultCode, HistoryRow, Job, Policy, Priority
from treadle.domain.limits import RAW_BYTES

BODY = {"v": VERSION, "type": "email.send"}


def _fault(body: bytes) -> Fault:
    read = Codec().decode(body)
    assert isinstance(read, Fault), read
    return read


def _read(codec: Codec, job: Job) -> Job:
    read, fault = codec.job(
        queue=job.queue,
        id=job.id,
        priority=job.priority,
        body=codec.encode(job),
        payload=job.payload,
    )
    assert fault is None
    return read


def test_what_is_ordinary_takes_no_room() -> None:
    assert Codec().encode(make_job()) == b'{"v":1,"type":"email.send"}'


def test_a_job_comes_back_as_it_was() -> None:
    job = make_job(priority=Priority.HIGH, policy=Policy(max_attempts=9), meta={"trace": "1"})

    assert _read(Codec(), job) == job


@pytest.mark.parametrize("other", [{"run_anyway": True}, {"key": "k"}, {"meta": {"a": "b"}}])
def test_what_one_job_has_does_not_leak_into_the_next(other: dict[str, object]) -> None:
    codec = Codec()
    policy = Policy(max_attempts=2)
    plain, special = make_job(policy=policy), make_job(policy=policy, **other)

    first, second, third = _read(codec, special), _read(codec, plain), _read(codec, special)

    assert (first, second, third) == (special, plain, special)


def test_ordinary_jobs_share_their_body() -> None:
    codec = Codec()

    assert codec.encode(make_job(id="one")) is codec.encode(make_job(id="two"))


def test_a_codec_remembers_only_so_many_bodies() -> None:
    codec = Codec()

    for number in range(3_000):
        codec.decode(codec.encode(make_job(type=f"type-{number}")))

    assert [len(kept) <= 1_024 for kept in vars(codec).values()] == [True, True]


@pytest.mark.promise(14)
def test_a_field_that_a_later_version_added_is_ignored() -> None:
    body = json.dumps({**BODY, "colour": {"of": ["the", "sky"]}}).encode()

    read = Codec().decode(body)

    assert read == Body(v=VERSION, type="email.send")


@pytest.mark.promise(10, 14)
def test_a_newer_version_is_told_apart() -> None:
    fault = _fault(b'{"v":2,"type":"email.send"}')

    assert fault.code is FaultCode.UNSUPPORTED_VERSION
    assert "newer version" in fault.detail


@pytest.mark.promise(10, 14)
def test_a_newer_version_is_told_apart_even_if_its_shape_is_another() -> None:
    assert _fault(b'{"v":2,"kind":["x"]}').code is FaultCode.UNSUPPORTED_VERSION


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"v"',
        b'{"type":"email.send"}',
        b'{"v":1}',
        b'{"v":1,"type":7}',
        b'{"v":"2","type":"a"}',
        b'{"v":1,"type":"a","policy":{"retry":{"type":"unheard-of"}}}',
        b'{"v":1,"type":"a","policy":{"retry":{"type":"list","delays_ms":[]}}}',
    ],
)
def test_json_of_the_wrong_shape_is_a_bad_envelope(body: bytes) -> None:
    assert _fault(body).code is FaultCode.BAD_ENVELOPE


@pytest.mark.promise(10)
def test_a_bad_envelope_names_the_field() -> None:
    assert "$.type" in _fault(b'{"v":1,"type":7}').detail


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "body",
    [b"", b"\x80\x04\x95", b"{", b'{"v":1', b"{'v': 1}", b"\xff\xfe", b"[" * 100_000],
)
def test_bytes_that_are_no_json_are_undecodable(body: bytes) -> None:
    assert _fault(body).code is FaultCode.UNDECODABLE


@pytest.mark.promise(10)
def test_a_fault_keeps_the_first_bytes_as_found() -> None:
    body = b"\xff" + b"x" * 10_000

    assert _fault(body).raw == body[:RAW_BYTES]


@pytest.mark.promise(10)
def test_a_job_whose_body_is_faulty_still_says_who_it_is() -> None:
    job, fault = Codec().job(
        queue="mail", id="j-1", priority=Priority.LOW, body=b"?", payload=b"{}"
    )

    assert (job.queue, job.id, job.priority) == ("mail", "j-1", Priority.LOW)
    assert fault is not None


def test_a_faulty_body_is_not_remembered() -> None:
    codec = Codec()

    assert codec.decode(b"?") is not codec.decode(b"?")


def test_a_history_row_comes_back_as_it_was() -> None:
    row = HistoryRow(event="fail", fence=3, attempt=2, session="w-1")

    assert decode_history(encode_history(row)) == row


@pytest.mark.promise(10)
@pytest.mark.parametrize("text", [b"", b"[]", b'{"event":1}', b"\xff", b'{"x":' + b"[" * 100_000])
def test_a_history_row_that_cannot_be_read_becomes_one_that_says_so(text: bytes) -> None:
    row = decode_history(text)

    assert row.event == "unreadable"
    assert row.reason
