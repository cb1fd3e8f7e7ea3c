"""What a worker counts, and the text in which Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.factories import HALF, NOW, make_failure, make_head, make_job, make_record
from treadle.domain.decide import decide
from treadle.domain.job import After, At, Record
from treadle.domain.outcome import Cancelled, Happening, Interrupted, Refused, Snoozed, Succeeded
from treadle.domain.state import State
from treadle.runtime.metrics import ALL_TIMED, MOST_SERIES, Meter, exposition
from treadle.runtime.settle import Entry

Told = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _read(meter: Meter) -> Told:
    """Read what a meter writes, strictly, by name and labels."""
    found: Told = {}
    for family in text_string_to_metric_families(exposition(meter)):
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def _of(told: Told, name: str, **labels: str) -> float:
    return told.get((f"treadle_worker_{name}", frozenset(labels.items())), 0.0)


def _settle(meter: Meter, record: Record, happening: Happening) -> None:
    write = decide(record, happening, record.job.policy, NOW, HALF)
    assert not isinstance(write, Refused)
    meter.settled(Entry(record, happening), write)


def _entries(count: int, ran_ms: Callable[[int], int], **job: Any) -> Sequence[Entry]:
    return [
        Entry(make_record(job=make_job(id=f"job-{n}", **job)), Succeeded(ran_ms=ran_ms(n)))
        for n in range(count)
    ]


@pytest.fixture
def meter() -> Meter:
    """Give a meter of a worker with one handler and one queue."""
    return Meter({"email.send": None}, ["default"])


@pytest.mark.parametrize(
    ("happening", "outcome"),
    [
        (Succeeded(), "succeeded"),
        (make_failure(), "retried"),
        (make_failure(give_up=True), "dead"),
        (Cancelled(), "cancelled"),
        (Snoozed(due=After(1_000)), "snoozed"),
        (Interrupted(), "interrupted"),
    ],
    ids=str,
)
def test_an_attempt_is_counted_by_how_it_ended(
    meter: Meter, happening: Happening, outcome: str
) -> None:
    _settle(meter, make_record(), happening)

    labels = {"queue": "default", "type": "email.send"}
    assert _of(_read(meter), "attempts_total", outcome=outcome, **labels) == 1


def test_a_time_falls_into_every_bucket_that_it_fits(meter: Meter) -> None:
    _settle(meter, make_record(), Succeeded(ran_ms=30))

    labels = {"queue": "default", "type": "email.send"}
    told = _read(meter)
    assert _of(told, "run_seconds_bucket", le="0.025", **labels) == 0
    assert _of(told, "run_seconds_bucket", le="0.05", **labels) == 1
    assert _of(told, "run_seconds_bucket", le="+Inf", **labels) == 1
    assert _of(told, "run_seconds_count", **labels) == 1
    assert _of(told, "run_seconds_sum", **labels) == 0.03


@pytest.mark.parametrize("name", ["run_seconds_count", "wait_seconds_count"])
def test_a_handler_that_was_not_called_has_no_times(meter: Meter, name: str) -> None:
    _settle(meter, make_record(), Interrupted(started=False))

    assert _of(_read(meter), name, queue="default", type="email.send") == 0


@pytest.mark.parametrize(
    ("due", "waited"), [(After(0), 5.0), (After(2_000), 3.0), (At(NOW - 1_000), 1.0)]
)
def test_a_job_waits_from_when_it_was_due(meter: Meter, due: After | At, waited: float) -> None:
    job = make_job(due=due)

    _settle(meter, make_record(job=job, created=NOW - 5_000, claimed=NOW), Succeeded())

    assert _of(_read(meter), "wait_seconds_sum", queue="default", type="email.send") == waited


def test_only_the_first_attempt_tells_how_long_a_job_waited(meter: Meter) -> None:
    head = make_head(attempt=2)

    _settle(meter, Record(job=make_job(), head=head, created=NOW - 5_000), Succeeded())

    assert _of(_read(meter), "wait_seconds_count", queue="default", type="email.send") == 0


@pytest.mark.parametrize("count", [0, 1, ALL_TIMED, ALL_TIMED + 1, 255, 256])
def test_a_batch_is_counted_exactly_and_its_times_add_up_to_as_many(count: int) -> None:
    meter = Meter({"email.send": None}, ["default"])

    meter.succeeded(_entries(count, lambda n: n))

    told, labels = _read(meter), {"queue": "default", "type": "email.send"}
    assert _of(told, "attempts_total", outcome="succeeded", **labels) == count
    assert _of(told, "run_seconds_count", **labels) == count
    assert _of(told, "wait_seconds_count", **labels) == count


@pytest.mark.parametrize("queues", [["default"], ["default", "mail"]])
def test_a_mixed_batch_is_counted_by_queue_and_type(queues: Sequence[str]) -> None:
    meter = Meter({"email.send": None, "note": None}, queues)
    batch = [
        *_entries(40, lambda _: 0),
        *_entries(25, lambda _: 0, type="note", queue=queues[-1]),
    ]

    meter.succeeded(batch)

    told = _read(meter)
    mails = {"queue": "default", "type": "email.send", "outcome": "succeeded"}
    notes = {"queue": queues[-1], "type": "note", "outcome": "succeeded"}
    assert _of(told, "attempts_total", **mails) == 40
    assert _of(told, "attempts_total", **notes) == 25


def test_the_times_of_a_large_batch_are_those_of_jobs_from_all_its_parts(meter: Meter) -> None:
    meter.succeeded(_entries(256, lambda n: 2_000 if n < 64 else 0))

    labels = {"queue": "default", "type": "email.send"}
    assert _of(_read(meter), "run_seconds_bucket", le="1", **labels) == 192


def test_the_times_of_a_mixed_batch_are_those_of_every_type() -> None:
    meter = Meter({"email.send": None, "note": None}, ["default"])
    mails = _entries(128, lambda _: 0)
    notes = _entries(128, lambda _: 0, type="note")

    for _ in range(50):
        meter.succeeded([one for pair in zip(mails, notes, strict=True) for one in pair])

    told = _read(meter)
    for kind in ("email.send", "note"):
        assert _of(told, "run_seconds_count", queue="default", type=kind) > 0


def test_types_without_a_handler_share_one_label(meter: Meter) -> None:
    for number in range(3):
        record = make_record(State.RUNNING, job=make_job(type=f"odd-{number}"))
        _settle(meter, record, Succeeded())

    labels = {"queue": "default", "type": "unknown"}
    assert _of(_read(meter), "attempts_total", outcome="succeeded", **labels) == 3
    assert list(meter.series()) == [("default", "unknown")]


def test_labels_do_not_grow_without_end() -> None:
    names = [f"type-{number}" for number in range(MOST_SERIES + 10)]
    meter = Meter(dict.fromkeys(names), ["default"])

    for name in names:
        _settle(meter, make_record(job=make_job(type=name)), Succeeded())

    told = _read(meter)
    assert len(meter.series()) == MOST_SERIES + 1
    labels = {"queue": "other", "type": "other", "outcome": "succeeded"}
    assert _of(told, "attempts_total", **labels) == 10


def test_a_worker_that_ran_nothing_tells_its_numbers_all_the_same(meter: Meter) -> None:
    told = _read(meter)

    assert _of(told, "claimed_total") == 0
    assert ("treadle_worker_slots", frozenset()) in told
