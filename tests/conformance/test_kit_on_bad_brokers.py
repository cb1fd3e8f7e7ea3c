"""Whatever a broker does, each case ends in a row, soon, and the run goes on."""

# ruff: noqa: ARG002 - what a broken broker is asked makes no difference to it

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from treadle.broker.base import Claimed, Clock, Enqueued, Pulse, Stats
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import BrokerUrl
from treadle.conformance import Result, Row, Subject, report_on, run_cases
from treadle.conformance.run import MANY
from treadle.domain.job import Job, Record, Ref
from treadle.errors import BrokerUnavailable

CLAIMS = ("C201", "C202", "C203")
OTHERS = ("C101", "C601")
"""Cases that claim nothing."""


class Hanging(MemoryBroker):
    """Never answers a claim."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        await anyio.sleep_forever()
        raise AssertionError


class Stubborn(MemoryBroker):
    """Never answers a claim, and does not let itself be cancelled."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
        raise AssertionError


class Blocking(MemoryBroker):
    """Blocks its event loop in a claim."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        threading.Event().wait()
        raise AssertionError


class Raising(MemoryBroker):
    """Lets an error of its own escape."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        raise ValueError("unexpected token")


class Leaving(MemoryBroker):
    """Tries to end the process."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        raise SystemExit(3)


class Unwilling(MemoryBroker):
    """Cannot be connected."""

    async def connect(self) -> None:
        raise BrokerUnavailable("nobody listens there")


class Clinging(MemoryBroker):
    """Never ends erasing."""

    async def erase(self) -> None:
        await anyio.sleep_forever()


class Nonsense(MemoryBroker):
    """Answers with wrong types, and with too few or too many results."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        return {"records": 7}  # type: ignore[return-value] # that is the nonsense

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return Enqueued(now=0, results=())

    async def heartbeat(self, *args: Any, **options: Any) -> Pulse:
        return "alive"  # type: ignore[return-value] # that is the nonsense

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return [None, None, None]

    async def stats(self) -> Stats:
        return None  # type: ignore[return-value] # that is the nonsense


def verified(
    kind: type[MemoryBroker], *, ids: Sequence[str] | None = None, limit_s: float = 0.3
) -> list[Row]:
    """Run cases against a broker of a kind, in bounded time."""

    def make(url: BrokerUrl, clock: Clock) -> MemoryBroker:
        return kind(url, clock)

    subject = Subject("memory://", make=make)
    return anyio.run(
        partial(run_cases, subject, "core", backends=["asyncio"], ids=ids, limit_s=limit_s)
    )


def results(rows: Sequence[Row]) -> dict[str, Result]:
    return {row.case: row.result for row in rows}


@pytest.mark.parametrize(
    "kind",
    [
        Hanging,
        pytest.param(Stubborn, marks=pytest.mark.slow),
        pytest.param(Blocking, marks=pytest.mark.slow),
        Raising,
        Leaving,
        Nonsense,
    ],
)
def test_what_is_broken_fails_and_what_is_not_passes(kind: type[MemoryBroker]) -> None:
    rows = verified(kind, ids=[*CLAIMS, "C601"], limit_s=3)

    assert results(rows) == dict.fromkeys(CLAIMS, Result.FAILED) | {"C601": Result.PASSED}
    assert all(row.detail for row in rows[:3])


def test_a_row_names_the_call_that_did_not_return() -> None:
    (row,) = verified(Hanging, ids=["C201"], limit_s=3)

    assert "did not end in 3 s" in row.detail
    assert "claim_one" in row.detail


def test_a_row_names_the_error_that_escaped() -> None:
    (row,) = verified(Raising, ids=["C201"], limit_s=60)

    assert "ValueError: unexpected token" in row.detail
    assert "claim.py:" in row.detail


def test_a_broker_that_cannot_be_connected_fails_in_every_row() -> None:
    rows = verified(Unwilling, ids=[*CLAIMS, *OTHERS], limit_s=60)

    assert set(results(rows).values()) == {Result.FAILED}
    assert all("nobody listens there" in row.detail for row in rows)


@pytest.mark.slow
def test_a_store_that_cannot_be_erased_is_told() -> None:
    (row,) = verified(Clinging, ids=["C601"], limit_s=60)

    assert row.result is Result.FAILED
    assert "erase" in row.detail


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Hanging, Raising, Nonsense])
def test_a_whole_run_against_a_broken_broker_ends(kind: type[MemoryBroker]) -> None:
    rows = verified(kind, limit_s=0.3)

    assert sum(row.result is Result.FAILED for row in rows) >= 100
    assert all(row.detail for row in rows if row.result is Result.FAILED)


def test_after_many_cases_that_hung_the_rest_is_not_run() -> None:
    claims = [f"C{number}" for number in range(201, 230)]

    rows = verified(Hanging, ids=claims, limit_s=0.05)

    not_run = [row for row in rows if row.detail.startswith("not run")]
    assert len(not_run) >= len(claims) - MANY - 5
    assert all(row.result is Result.FAILED for row in not_run)


def test_the_report_of_a_broken_broker_names_what_failed() -> None:
    subject = Subject("memory://user:secret@host", make=Raising)
    rows = anyio.run(partial(run_cases, subject, backends=["asyncio"], ids=["C201", "C601"]))

    report = report_on(subject, rows, "core")

    assert not report.passed
    assert "FAILED C201 a claimed job runs for the session (asyncio)" in report.table()
    assert "secret" not in report.table() + report.json().decode()
