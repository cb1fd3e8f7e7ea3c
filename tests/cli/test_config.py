"""`qrun config`: what a process would run under, and who said so."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Qrun

TEN = {
    "REDIS_URL": ("redis://user:hunter2@cache:6379/0", "url", "redis://***@cache:6379/0"),
    "DATABASE_URL": ("postgres://user:hunter2@db/jobs", "url", "postgres://***@db/jobs"),
    "API_PORT": ("9090", "web.port", "9090"),
    "WORKER_CONCURRENCY": ("12", "worker.concurrency", "12"),
    "WORKER_QUEUES": ("critical,default,low", "worker.queues", "critical, default, low"),
    "WORKER_POLL_INTERVAL": ("2s", "worker.poll_interval", "2s"),
    "WORKER_SHUTDOWN_TIMEOUT": ("45s", "worker.grace", "45s"),
    "JOB_DEFAULT_TIMEOUT": ("10m", "job.timeout", "10m"),
    "LOG_LEVEL": ("debug", "log.level", "debug"),
    "LOG_FORMAT": ("console", "log.format", "console"),
}
"""Each of the ten names: what it is set to, the setting that it is, and how that is shown."""


@pytest.mark.contract("F30")
@pytest.mark.parametrize("name", TEN)
def test_each_of_the_ten_names_is_read_and_shown_with_its_origin(qrun: Qrun, name: str) -> None:
    value, path, shown = TEN[name]

    ran = qrun("config", "--json", **{"QRUN_URL": "", name: value})

    (row,) = [row for row in ran.objects if row["name"] == path]
    assert (row["value"], row["origin"]) == (shown, f"environment: {name}")
    assert "hunter2" not in ran.out


@pytest.mark.contract("F18", "F30")
@pytest.mark.parametrize("name", TEN)
def test_each_of_the_ten_names_may_stand_in_dotenv(qrun: Qrun, name: str) -> None:
    value, path, shown = TEN[name]
    qrun.write(".env", f"{name}={value}\n").chmod(0o600)

    ran = qrun("config", "--json", QRUN_URL="")

    (row,) = [row for row in ran.objects if row["name"] == path]
    assert (row["value"], row["origin"]) == (shown, f".env: {name}")


@pytest.mark.contract("F18")
def test_what_cannot_be_used_is_named_with_path_and_variable(qrun: Qrun) -> None:
    qrun.write(".env", "PORT=http\nWORKER_CONCURRENCY=0\n")

    ran = qrun("config", LOG_FORMAT="xml")

    assert ran.code == 2
    assert "at `$.web.port` (.env: PORT)" in ran.err
    assert "at `$.worker.concurrency` (.env: WORKER_CONCURRENCY)" in ran.err
    assert "at `$.log.format`; one of console, json, logfmt (environment: LOG_FORMAT)" in ran.err


def test_schedules_are_shown_with_the_variables_that_change_them(qrun: Qrun) -> None:
    qrun.write("treadle.toml", '[schedules.digest-eu]\ncron = "@daily"\npayload = { n = 1 }\n')
    variable = "QRUN_SCHEDULES_DIGEST_EU_TZ"

    ran = qrun("config", "--json", **{variable: "Asia/Tokyo"})

    rows = {
        row["name"].removeprefix("schedules.digest-eu."): row
        for row in ran.objects
        if row["name"].startswith("schedules.")
    }
    assert {name: row["value"] for name, row in rows.items()} == {
        "cron": "@daily",
        "tz": "Asia/Tokyo",
        "payload": '{"n":1}',
    }
    assert (rows["tz"]["origin"], rows["tz"]["variable"]) == (f"environment: {variable}", variable)
