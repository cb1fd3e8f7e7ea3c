"""Every body comes back as it was, and no bytes at all make a reader raise."""

from __future__ import annotations

import json
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.strategies import JOBS, ROWS, TEXT
from treadle.domain.codec import (
    VERSION,
    Body,
    Codec,
    decode_history,
    encode_history,
)
from treadle.domain.job import Fault, FaultCode, HistoryRow, Job, Priority

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MODELS = (
    b'{"v":1,"type":"email.send"}',
    b'{"v":1,"type":"a","policy":{"retry":{"type":"list","delays_ms":[1,2]},"max_attempts":9}}',
    b'{"v":1,"type":"a","due":{"type":"at","ms":7},"after":[["q","id"]],"meta":{"k":"v"}}',
    b'{"event":"fail","fence":3,"at":7,"error":{"type":"E","message":"m"}}',
)
PIECES = (b"", b"\x00", b"\xff", b'"', b"{", b"[" * 5_000, b"null", b"-1", b"1e999", b"9" * 400)


def _spoilt(rng: Random) -> bytes:
    """Take bytes that could be read and spoil them: cut, flip, insert, or replace them all."""
    text = bytearray(rng.choice(MODELS))
    for _ in range(rng.randint(1, 4)):
        start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(4):
            case 0:
                del text[start:end]
            case 1 if text:
                text[rng.randrange(len(text))] = rng.randrange(256)
            case 2:
                text[start:start] = rng.choice(PIECES)
            case _:
                text[start:end] = rng.randbytes(rng.randrange(20))
    return bytes(text)


@given(JOBS)
def test_a_body_comes_back_as_it_was(job: Job) -> None:
    codec = Codec()

    read, fault = codec.job(
        queue=job.queue,
        id=job.id,
        priority=job.priority,
        body=codec.encode(job),
        payload=job.payload,
    )

    assert fault is None
    assert read == job


@given(st.lists(JOBS, max_size=6))
def test_a_codec_that_has_seen_other_jobs_gives_the_same_bytes(jobs: list[Job]) -> None:
    used = Codec()

    assert [used.encode(job) for job in jobs * 2] == [Codec().encode(job) for job in jobs * 2]


@given(ROWS)
def test_a_history_row_comes_back_as_it_was(row: HistoryRow) -> None:
    assert decode_history(encode_history(row)) == row


@pytest.mark.promise(14)
@given(JOBS, st.dictionaries(TEXT.map(lambda name: "new_" + name), JSON, max_size=3))
def test_fields_that_a_later_version_added_are_ignored(job: Job, added: dict[str, object]) -> None:
    codec = Codec()
    body = codec.encode(job)
    later = msgspec.json.encode({**msgspec.json.decode(body), **added})

    assert codec.decode(later) == codec.decode(body)


@pytest.mark.promise(10, 14)
@given(st.integers(VERSION + 1, 2**31), st.dictionaries(TEXT, JSON, max_size=4))
def test_any_larger_version_is_left_for_a_newer_reader(
    version: int, fields: dict[str, object]
) -> None:
    read = Codec().decode(json.dumps({**fields, "v": version}).encode())

    assert isinstance(read, Fault)
    assert read.code is FaultCode.UNSUPPORTED_VERSION


# 40 x 50 inputs, and as many again of any JSON or bytes that Hypothesis finds worth a try
SEEDS = st.integers(0, 2**32)
FEW = settings(max_examples=40)


def _reads(body: bytes) -> None:
    read = Codec().decode(body)

    assert isinstance(read, Body) or (read.detail and body.startswith(read.raw)), body


def _reads_history(text: bytes) -> None:
    row = decode_history(text)

    assert row.event != "unreadable" or row.reason, text


@pytest.mark.promise(10)
@FEW
@given(SEEDS)
def test_spoilt_bytes_never_make_a_reader_raise(seed: int) -> None:
    rng = Random(seed)

    for _ in range(50):
        text = _spoilt(rng)
        _reads(text)
        _reads_history(text)


@pytest.mark.promise(10)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_neither_any_json_nor_any_bytes_make_a_reader_raise(text: bytes) -> None:
    _reads(text)
    _reads_history(text)


@pytest.mark.promise(10)
@FEW
@given(SEEDS)
def test_a_job_with_a_spoilt_body_still_says_who_it_is(seed: int) -> None:
    rng, codec = Random(seed), Codec()

    for _ in range(50):
        job, fault = codec.job(queue="q", id="j", priority=Priority.LOW, body=_spoilt(rng))

        assert (job.queue, job.id) == ("q", "j")
        assert fault is None or not job.type
