"""Whether a claimed job may run here at all."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.support.factories import NOW, make_record
from treadle.domain.admission import admit
from treadle.domain.job import Fault, FaultCode
from treadle.domain.outcome import Expired, Lost, Parked, Rejected
from treadle.domain.state import Reason


def _fault(code: FaultCode) -> Fault:
    return Fault(code=code, detail="Expected `str`, got `int` - at `$.type`", raw=b"\x00\xff")


def test_an_ordinary_job_runs() -> None:
    assert admit(make_record(), NOW, known=True) is None


@pytest.mark.promise(10)
@pytest.mark.contract("F11")
def test_a_type_without_a_handler_is_parked_by_name() -> None:
    answer = admit(make_record(), NOW, known=False)

    assert answer == Parked(reason=Reason.UNKNOWN_TYPE, detail="no handler for 'email.send'")


@pytest.mark.parametrize(
    ("expires", "runs"), [(0, True), (NOW + 1, True), (NOW, False), (NOW - 1, False)]
)
def test_a_job_expires_at_its_instant_and_never_without_one(expires: int, runs: bool) -> None:
    answer = admit(make_record(expires=expires), NOW, known=True)

    assert answer == (None if runs else Expired())


def test_an_expired_job_is_not_parked_for_its_unknown_type() -> None:
    assert admit(make_record(expires=NOW - 1), NOW, known=False) == Expired()


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (FaultCode.UNDECODABLE, Reason.UNDECODABLE),
        (FaultCode.BAD_ENVELOPE, Reason.BAD_ENVELOPE),
    ],
)
def test_bytes_that_nobody_can_read_are_rejected_and_kept_as_hex(
    code: FaultCode, reason: Reason
) -> None:
    record = structs.replace(make_record(), fault=_fault(code))

    answer = admit(record, NOW, known=False)

    assert isinstance(answer, Rejected)
    assert answer.reason is reason
    assert "$.type" in answer.error.message
    assert "00ff" in answer.error.traceback


@pytest.mark.promise(10, 14)
def test_a_record_of_a_newer_version_is_parked() -> None:
    record = structs.replace(make_record(), fault=_fault(FaultCode.UNSUPPORTED_VERSION))

    answer = admit(record, NOW, known=True)

    assert isinstance(answer, Parked)
    assert answer.reason is Reason.UNSUPPORTED_VERSION


@pytest.mark.promise(7)
@pytest.mark.parametrize("ended", [True, False])
def test_a_job_handed_out_again_by_its_store_is_lost_before_anything_else(ended: bool) -> None:
    record = structs.replace(
        make_record(expires=NOW - 1),
        lost=True,
        session_ended=ended,
        fault=_fault(FaultCode.UNDECODABLE),
    )

    answer = admit(record, NOW, known=False)

    assert isinstance(answer, Lost)
    assert answer.ended is ended
