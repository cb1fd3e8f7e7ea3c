"""Options of jobs, on top of the handler's, on top of the application's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from treadle.domain.job import DAY_MS, NOW, After, At, OnCrash, Policy, Priority, Ref
from treadle.domain.retry import Fixed
from treadle.domain.unique import OnConflict, Scope, Unique
from treadle.errors import ConfigurationError
from treadle.runtime.job_options import JobOptions, Options, amend, build
from treadle.runtime.policies import fixed


def _amend(**given: Any) -> JobOptions:
    return amend(JobOptions(), cast("Options", given))


def test_what_is_left_out_stays() -> None:
    base = JobOptions(queue="mail", policy=Policy(max_attempts=9))

    amended = amend(base, {"delay": 5})

    assert amended.queue == "mail"
    assert amended.policy is base.policy
    assert amended.due == After(5_000)


@pytest.mark.contract("F25")
def test_a_job_is_due_after_a_delay_or_at_an_instant() -> None:
    assert _amend(delay=0).due == NOW
    assert _amend(delay=timedelta(minutes=1)).due == After(60_000)
    assert _amend(run_at=datetime(1970, 1, 2, tzinfo=UTC)).due == At(DAY_MS)
    assert _amend(expires=60).expires == After(60_000)
    assert _amend(expires=datetime(1970, 1, 2, tzinfo=UTC)).expires == At(DAY_MS)


@pytest.mark.contract("F22")
@pytest.mark.parametrize("name", ["critical", "high", "medium", "low"])
def test_priorities_have_names(name: str) -> None:
    assert _amend(priority=name).priority is Priority[name.upper()]
    assert _amend(priority=Priority[name.upper()]).priority is Priority[name.upper()]


def test_a_unique_key_has_a_scope_and_a_way_out_of_conflicts() -> None:
    assert _amend(unique="ada").unique == Unique(key="ada")
    assert _amend(unique="ada", unique_for="waiting").unique == Unique(
        key="ada", scope=Scope.WAITING
    )
    assert _amend(unique="ada", unique_for=timedelta(hours=1)).unique == Unique(
        key="ada", scope=Scope.PERIOD, period_ms=3_600_000
    )
    assert _amend(unique="ada", on_conflict="replace").unique == Unique(
        key="ada", on_conflict=OnConflict.REPLACE
    )
    assert amend(_amend(unique="ada"), {"unique": False}).unique is None


def test_a_key_made_from_the_arguments_is_the_same_for_the_same_arguments() -> None:
    options = _amend(unique=True)

    same = [build("email.send", one, b'{"to":"ada"}', options).unique for one in ("a", "b")]
    other = build("email.send", "c", b'{"to":"eve"}', options).unique

    assert same[0] == same[1] != other
    assert same[0] is not None
    assert same[0].key.startswith("email.send:")


def test_an_id_given_by_the_caller_is_remembered_for_a_day() -> None:
    options = _amend(id="welcome:ada")

    job = build("email.send", "generated", b"{}", options)

    assert job.id == "welcome:ada"
    assert job.policy.remember_ms == DAY_MS


def test_everything_that_is_said_is_in_the_job() -> None:
    parent = Ref("default", "parent")
    options = _amend(
        queue="mail",
        retry=fixed(3, retries=1),
        timeout=5,
        on_crash="dead",
        retention=None,
        after=[parent],
        run_anyway=True,
        key="ada",
        meta={"trace": "abc"},
    )

    job = build("email.send", "id", b"{}", options)

    assert (job.queue, job.key, job.run_anyway, dict(job.meta)) == (
        "mail",
        "ada",
        True,
        {"trace": "abc"},
    )
    assert job.after == (parent,)
    assert job.policy == Policy(
        max_attempts=2,
        retry=Fixed(delay_ms=3_000),
        timeout_ms=5_000,
        on_crash=OnCrash.DEAD,
        retention_ms=None,
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"delay": 1, "run_at": datetime(2025, 1, 1, tzinfo=UTC)}, "`delay` or `run_at`, not both"),
        ({"run_at": datetime(2025, 1, 1)}, "run_at must have a time zone"),  # noqa: DTZ001
        ({"delay": -1}, "delay must be between 0"),
        ({"queue": "a b"}, "queue 'a b'"),
        ({"queue": ""}, "queue ''"),
        ({"priority": "urgent"}, "priority 'urgent' is not one of critical, high, medium, low"),
        ({"priority": "HIGH"}, "priority 'HIGH'"),
        ({"unique": ""}, "unique is a text of 1 to 256 bytes"),
        ({"unique": "ü" * 129}, "unique is a text of 1 to 256 bytes"),
        ({"unique": "\ud800"}, "unique is a text of 1 to 256 bytes, got '\\ud800'"),
        ({"key": "\ud800"}, "key is a text of 1 to 256 bytes"),
        ({"unique_for": "final"}, "need `unique`"),
        ({"unique": "a", "unique_for": "ever"}, "unique_for is 'waiting', 'final' or a timedelta"),
        ({"unique": "a", "on_conflict": "merge"}, "on_conflict is 'existing', 'reject' or"),
        ({"id": "a b"}, "job id 'a b'"),
        ({"id": ""}, "job id ''"),
        ({"dely": 1}, "unknown option 'dely'. Known: after, dead_ret"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _amend(**given)

    assert says in str(refused.value)
