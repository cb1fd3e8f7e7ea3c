"""Schedules of the settings: how they are read, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from treadle.errors import ConfigurationError
from treadle.settings import ScheduleSettings, Settings, load

NIGHTLY = """
[schedules.nightly]
cron = "30 2 * * *"
tz = "America/New_York"
type = "report.build"
payload = { region = "eu" }
queue = "reports"
priority = "high"
retries = 5
timeout = "5m"
catch_up = "once"
look_back = "30m"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def _load(here: Path, text: str = "", environ: Mapping[str, str] | None = None) -> Settings:
    (here / "treadle.toml").write_text(text, encoding="utf-8")
    return load(folder=here, environ=environ or {})


def _refusal(here: Path, text: str = "", environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _load(here, text, environ)
    return str(caught.value)


@pytest.mark.contract("F26")
def test_a_schedule_stands_in_a_table_of_its_name(here: Path) -> None:
    settings = _load(here, NIGHTLY)

    assert settings.schedules == {
        "nightly": ScheduleSettings(
            cron="30 2 * * *",
            tz="America/New_York",
            type="report.build",
            payload={"region": "eu"},
            queue="reports",
            priority="high",
            retries=5,
            timeout=timedelta(minutes=5),
            catch_up="once",
            look_back=timedelta(minutes=30),
        )
    }


def test_a_schedule_may_stand_in_the_environment_alone(here: Path) -> None:
    environ = {
        "QRUN_SCHEDULES_CLEAN_UP_EVERY": "90s",
        "QRUN_SCHEDULES_CLEAN_UP_LOOK_BACK": "2m",
        "QRUN_SCHEDULES_CLEAN_UP_PAYLOAD": '{"keep": 3}',
    }

    settings = _load(here, environ=environ)

    assert settings.schedules == {
        "clean_up": ScheduleSettings(
            every=timedelta(seconds=90), look_back=timedelta(minutes=2), payload={"keep": 3}
        )
    }
    assert settings.origin("schedules.clean_up.every") == (
        "environment: QRUN_SCHEDULES_CLEAN_UP_EVERY"
    )


@pytest.mark.parametrize("name", ["nightly-report", "Nightly.Report", "nightly_report"])
def test_a_variable_wins_over_the_same_field_of_a_file(here: Path, name: str) -> None:
    text = NIGHTLY.replace("schedules.nightly", f'schedules."{name}"')

    settings = _load(here, text, {"QRUN_SCHEDULES_NIGHTLY_REPORT_CRON": "0 3 * * *"})

    (schedule,) = settings.schedules.values()
    assert list(settings.schedules) == [name]
    assert (schedule.cron, schedule.tz) == ("0 3 * * *", "America/New_York")
    assert settings.origin(f"schedules.{name}.tz") == "treadle.toml"


def test_what_was_said_is_shown_with_its_origin_and_without_secrets(here: Path) -> None:
    text = 'redact = ["*.password"]\n' + NIGHTLY.replace("region", "password")

    rows = {path: (value, origin) for path, value, origin in _load(here, text).rows()}

    shown = {path: value for path, (value, _) in rows.items() if path.startswith("schedules.")}
    assert shown["schedules.nightly.cron"] == "30 2 * * *"
    assert shown["schedules.nightly.timeout"] == "5m"
    assert "eu" not in shown["schedules.nightly.payload"]
    assert rows["schedules.nightly.cron"][1] == "treadle.toml"


def _table(*lines: str) -> str:
    return "\n".join(["[schedules.nightly]", *lines])


@pytest.mark.contract("F26")
@pytest.mark.parametrize(
    ("text", "said", "path"),
    [
        (_table('cron = "0 0 31 2 *"'), "never fires", ".nightly.cron"),
        (_table('cron = "often"'), "five fields", ".nightly.cron"),
        (_table("cron = 5"), "got `int`", ".nightly.cron"),
        (_table('cron = "@daily"', 'tz = "Mars"'), "time zone 'Mars' is unknown", ".nightly.tz"),
        (_table('every = "1ms"'), "1 s to 366 days", ".nightly.every"),
        (_table('every = "soon"'), "Expected a duration", ".nightly.every"),
        (_table('every = "1h"', 'look_back = "2h"'), "at most 1 hour", ".nightly.look_back"),
        (_table('every = "1h"', 'catch_up = "none"'), "all, once, skip", ".nightly.catch_up"),
        (_table('every = "1h"', 'priority = "top"'), "critical, high", ".nightly.priority"),
        (_table('every = "1h"', 'queue = "a b"'), "matching regex", ".nightly.queue"),
        (_table('every = "1h"', "payload = 3"), "Expected `object`", ".nightly.payload"),
        (_table('every = "1h"', "retries = -1"), ">= 0", ".nightly.retries"),
        (_table('crn = "@daily"'), "unknown field `crn`", ".nightly"),
        (_table('every = "1h"', 'cron = "@daily"'), "either `cron` or `every`", ".nightly"),
        (_table('queue = "a"'), "either `cron` or `every`", ".nightly"),
        (_table(), "a table with `cron` or `every`", ".nightly"),
        ("[schedules]\nnightly = '@daily'", "a table with `cron` or `every`", ".nightly"),
        ("schedules = 3", "Expected a table", ""),
        ('[schedules."a b"]\ncron = "@daily"', "schedule name 'a b'", ".a b"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_path(
    here: Path, text: str, said: str, path: str
) -> None:
    refusal = _refusal(here, text)

    assert said in refusal
    assert f"at `$.schedules{path}`" in refusal
    assert refusal.endswith("(treadle.toml)")
    assert len(refusal.splitlines()) == 1


def test_a_variable_that_cannot_be_used_is_named_itself(here: Path) -> None:
    refusal = _refusal(here, NIGHTLY, {"QRUN_SCHEDULES_NIGHTLY_CRON": "0 0 31 2 *"})

    assert "at `$.schedules.nightly.cron`" in refusal
    assert refusal.endswith("(environment: QRUN_SCHEDULES_NIGHTLY_CRON)")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("QRUN_SCHEDULES_NIGHTLY_PAYLOAD", "[]", "Expected a JSON object"),
        ("QRUN_SCHEDULES_NIGHTLY", "@daily", "unknown setting `QRUN_SCHEDULES_NIGHTLY`"),
        ("QRUN_SCHEDULES_CRON", "@daily", "unknown setting `QRUN_SCHEDULES_CRON`"),
    ],
)
def test_a_variable_that_is_none_of_a_schedule_is_refused(
    here: Path, name: str, value: str, said: str
) -> None:
    assert said in _refusal(here, NIGHTLY, {name: value})


def test_so_many_schedules_are_refused_that_schedulers_could_not_hold_them(here: Path) -> None:
    text = "".join(f"[schedules.n{n}]\ncron = '@daily'\n" for n in range(1_001))

    refusal = _refusal(here, text)

    assert refusal == "Expected at most 1000 schedules, got 1001 - at `$.schedules`"


def test_schedules_cost_nothing_where_there_are_none(here: Path) -> None:
    assert _load(here).schedules == {}
