"""Settings: where each comes from, which one wins, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from treadle.broker.values import Durability
from treadle.errors import ConfigurationError
from treadle.settings import (
    NAMES,
    PLAIN_NAMES,
    LogFormat,
    LogLevel,
    Settings,
    duration,
    load,
    size,
    written,
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _load(here: Path, environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    return load(folder=here, environ=environ or {}, flags=flags)


def _refusal(here: Path, environ: Mapping[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _load(here, environ, **flags)
    return str(caught.value)


def test_without_any_source_all_are_defaults(here: Path) -> None:
    settings = _load(here)

    assert settings == Settings()
    assert {origin for _, _, origin in settings.rows()} == {"default"}


def test_the_defaults_are_those_that_are_promised(here: Path) -> None:
    settings = _load(here)

    assert settings.url == "sqlite:///.treadle/jobs.db"
    assert settings.worker.concurrency == 10
    assert settings.worker.grace == timedelta(seconds=25)
    assert settings.worker.lease == timedelta(seconds=15)
    assert settings.enqueue_timeout == timedelta(seconds=5)
    assert settings.payload_limit == 256 * 1024
    assert (settings.job.timeout, settings.job.retries) == (None, 3)


def test_a_profile_gives_other_defaults_below_every_source(here: Path) -> None:
    _write(here / "treadle.toml", "[worker]\nconcurrency = 4\n")
    profile = {"worker.concurrency": 5, "worker.grace": "30s"}

    settings = load(folder=here, environ={}, defaults=profile)

    assert settings.worker.concurrency == 4
    assert settings.worker.grace == timedelta(seconds=30)
    assert settings.origin("worker.grace") == "profile"


@pytest.mark.contract("F18")
def test_flags_win_over_environment_over_dotenv_over_file(here: Path) -> None:
    _write(
        here / "pyproject.toml",
        "[tool.treadle]\nurl = 'memory://file'\napp = 'file:jobs'\n"
        "[tool.treadle.worker]\nconcurrency = 1\nname = 'file'\n",
    )
    _write(
        here / ".env", "QRUN_WORKER_CONCURRENCY=2\nQRUN_APP=dotenv:jobs\nQRUN_URL=memory://dotenv\n"
    )
    environ = {"QRUN_WORKER_CONCURRENCY": "3", "QRUN_APP": "environment:jobs"}

    settings = load(folder=here, environ=environ, flags={"worker.concurrency": 4})

    assert (settings.worker.concurrency, settings.origin("worker.concurrency")) == (4, "flag")
    assert (settings.app, settings.origin("app")) == ("environment:jobs", "environment: QRUN_APP")
    assert (settings.url, settings.origin("url")) == ("memory://dotenv", ".env: QRUN_URL")
    assert (settings.worker.name, settings.origin("worker.name")) == ("file", "pyproject.toml")


def test_a_flag_that_was_not_given_counts_for_nothing(here: Path) -> None:
    settings = load(folder=here, environ={}, flags={"worker.concurrency": None})

    assert settings.worker.concurrency == 10


@pytest.mark.contract("F30", "F29")
def test_all_plain_names_are_read(here: Path) -> None:
    environ = {
        "REDIS_URL": "redis://localhost:6379/0",
        "API_PORT": "8081",
        "WORKER_CONCURRENCY": "7",
        "WORKER_QUEUES": "critical,default, low",
        "WORKER_POLL_INTERVAL": "500ms",
        "WORKER_SHUTDOWN_TIMEOUT": "30s",
        "JOB_DEFAULT_TIMEOUT": "5m",
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "json",
        "MAX_RETRIES": "9",
    }

    settings = _load(here, environ)

    assert settings.url == "redis://localhost:6379/0"
    assert settings.web.port == 8081
    assert settings.worker.concurrency == 7
    assert settings.worker.queues == ("critical", "default", "low")
    assert settings.worker.poll_interval == timedelta(milliseconds=500)
    assert settings.worker.grace == timedelta(seconds=30)
    assert settings.job.timeout == timedelta(minutes=5)
    assert (settings.log.level, settings.log.format) == (LogLevel.WARN, LogFormat.JSON)
    assert settings.job.retries == 9
    assert settings.origin("worker.queues") == "environment: WORKER_QUEUES"


@pytest.mark.contract("F18", "F30")
@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"DATABASE_URL": "postgres://db"}, "postgres://db"),
        ({"DATABASE_URL": "postgres://db", "REDIS_URL": "redis://r"}, "redis://r"),
        ({"REDIS_URL": "redis://r", "QRUN_URL": "memory://q"}, "memory://q"),
        ({"REDIS_URL": "redis://r", "QRUN_URL": ""}, "redis://r"),
    ],
)
def test_redis_url_and_database_url_set_the_broker_unless_qrun_url_does(
    here: Path, environ: Mapping[str, str], url: str
) -> None:
    assert _load(here, environ).url == url


def test_qrun_url_in_dotenv_still_wins_over_a_plain_name_of_the_environment(here: Path) -> None:
    _write(here / ".env", "QRUN_URL=memory://dotenv\n")

    assert _load(here, {"REDIS_URL": "redis://r"}).url == "memory://dotenv"


@pytest.mark.contract("F18")
def test_dotenv_may_hold_port_and_database_url(here: Path) -> None:
    _write(
        here / ".env", "# a comment\nexport PORT=9000\nDATABASE_URL='postgres://db/jobs'\nOTHER=1\n"
    )

    settings = _load(here)

    assert (settings.web.port, settings.url) == (9000, "postgres://db/jobs")


def test_every_leaf_has_a_variable_of_the_environment() -> None:
    leaves = {path for path, _, _ in Settings().rows()}

    assert set(NAMES.values()) == leaves
    assert set(PLAIN_NAMES.values()) <= leaves


def test_an_unknown_field_names_its_path_its_file_and_what_was_meant(here: Path) -> None:
    _write(here / "treadle.toml", "[worker]\nconcurency = 3\n")

    assert _refusal(here) == (
        "unknown field `concurency` - at `$.worker`; did you mean `concurrency`? (treadle.toml)"
    )


def test_an_unknown_field_at_the_top_may_belong_into_a_table(here: Path) -> None:
    _write(here / "pyproject.toml", "[tool.treadle]\nconcurrency = 3\n")

    assert _refusal(here) == (
        "unknown field `concurrency` - at `$`; did you mean `worker.concurrency`? (pyproject.toml)"
    )


def test_an_unknown_variable_is_named_with_what_was_meant(here: Path) -> None:
    assert _refusal(here, {"QRUN_WORKER_CONCURENCY": "3"}) == (
        "unknown setting `QRUN_WORKER_CONCURENCY`; did you mean `QRUN_WORKER_CONCURRENCY`? "
        "(environment: QRUN_WORKER_CONCURENCY)"
    )


def test_variables_of_plugins_and_of_others_are_left_alone(here: Path) -> None:
    assert _load(here, {"QRUN_PLUGIN_EMAILS_KEY": "x", "WORKER_COLOUR": "blue"}) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 3", "Expected a table - at `$.worker`"),
        ("[worker]\nconcurrency = 'ten'", "Expected `int`, got `str` - at `$.worker.concurrency`"),
        ("[worker]\nconcurrency = 0", "Expected `int` >= 1 - at `$.worker.concurrency`"),
        ("[worker]\nqueues = ['a b']", "at `$.worker.queues[0]`"),
        ("[worker]\nqueues = []", "Expected `array` of length >= 1 - at `$.worker.queues`"),
        ("[worker]\ngrace = 'soon'", "Expected a duration such as"),
        ("[worker]\nlease = '10ms'", "Expected a duration from 1s to 1h - at `$.worker.lease`"),
        ("[log]\nlevel = 'loud'", "at `$.log.level`; one of debug, info, warn, error"),
        ("durability = 'some'", "one of none, process, power-loss, node-loss"),
        ("payload_limit = '5MiB'", "Expected at most 4194304 bytes - at `$.payload_limit`"),
        ("payload_limit = 'big'", "Expected a size such as"),
        ("url = 'jobs.db'", "is no broker URL"),
        ("plugins = 3", "at `$.plugins`"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(here: Path, text: str, said: str) -> None:
    _write(here / "treadle.toml", text)

    refusal = _refusal(here)

    assert said in refusal
    assert refusal.endswith("(treadle.toml)")


def test_all_that_is_wrong_is_told_at_once(here: Path) -> None:
    _write(here / "treadle.toml", "colour = 'blue'\n[worker]\nprocesses = 1000\n")

    refusal = _refusal(here, {"PORT": "http"})

    assert [line.rpartition("(")[2] for line in refusal.splitlines()] == [
        "treadle.toml)",
        "treadle.toml)",
        "environment: PORT)",
    ]


def test_settings_in_both_files_are_refused(here: Path) -> None:
    _write(here / "treadle.toml", "app = 'a:jobs'")
    _write(here / "pyproject.toml", "[tool.treadle]\napp = 'b:jobs'")

    assert "keep one of them" in _refusal(here)


def test_a_pyproject_of_others_counts_for_nothing(here: Path) -> None:
    _write(here / "pyproject.toml", "[project]\nname = 'x'\n", mode=0o666)

    assert _load(here) == Settings()


def test_a_file_that_is_no_toml_is_named_with_the_line(here: Path) -> None:
    _write(here / "treadle.toml", "url = \n")

    refusal = _refusal(here)

    assert "treadle.toml" in refusal
    assert "line 1" in refusal


@pytest.mark.parametrize("name", ["treadle.toml", ".env"])
def test_a_file_that_everybody_may_write_is_refused(here: Path, name: str) -> None:
    _write(here / name, 'QRUN_APP="a:jobs"\n' if name == ".env" else 'app = "a:jobs"\n', mode=0o666)

    assert _refusal(here).startswith(f"{name} can be written by everybody: chmod o-w {name}")


@pytest.mark.parametrize("name", ["treadle.toml", ".env"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_with_a_password_that_others_may_read_is_refused(
    here: Path, name: str, mode: int
) -> None:
    url = "redis://user:hunter2@host"
    _write(here / name, f'QRUN_URL="{url}"\n' if name == ".env" else f'url = "{url}"\n', mode=mode)

    refusal = _refusal(here)

    assert f"chmod 600 {name}" in refusal
    assert "hunter2" not in refusal


def test_a_file_with_a_password_for_its_owner_alone_is_read(here: Path) -> None:
    _write(here / "treadle.toml", 'url = "redis://user:hunter2@host"\n', mode=0o600)

    assert _load(here).url == "redis://user:hunter2@host"


def test_printed_settings_hold_no_password(here: Path) -> None:
    settings = _load(here, {"REDIS_URL": "redis://user:hunter2@host/0"})

    shown = {path: value for path, value, _ in settings.rows()}

    assert shown["url"] == "redis://***@host/0"


def test_plugins_may_be_none_in_the_environment(here: Path) -> None:
    _write(here / "treadle.toml", "plugins = ['emails', 'web']")

    assert _load(here).plugins == ("emails", "web")
    assert _load(here, {"QRUN_PLUGINS": "none"}).plugins == ()
    assert _load(here, {"QRUN_PLUGINS": "emails"}).plugins == ("emails",)
    assert _load(here, {"QRUN_DISABLE_PLUGINS": "emails,web"}).disable_plugins == ("emails", "web")
    assert _load(here, {"QRUN_TRACE_PLUGINS": "1"}).trace_plugins


class _Mail(Struct, kw_only=True, forbid_unknown_fields=True):
    sender: str = "nobody@example.com"
    retries: int = 1


def test_a_plugin_reads_its_own_table_into_its_own_type(here: Path) -> None:
    _write(here / "treadle.toml", "[plugin.emails]\nsender = 'me@example.com'\n")

    settings = _load(here)

    assert settings.section("emails", _Mail) == _Mail(sender="me@example.com")
    assert settings.section("other", _Mail) == _Mail()
    assert ("plugin.emails", "(sender)", "treadle.toml") in list(settings.rows())


def test_a_wrong_field_of_a_plugin_names_path_and_file(here: Path) -> None:
    _write(here / "treadle.toml", "[plugin.emails]\nretries = 'many'\n")

    with pytest.raises(ConfigurationError, match=r"\$\.plugin\.emails\.retries.*\(treadle\.toml\)"):
        _load(here).section("emails", _Mail)


def test_durability_is_one_of_the_levels(here: Path) -> None:
    assert _load(here, {"QRUN_DURABILITY": "power-loss"}).durability is Durability.POWER_LOSS


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1.5s", 1_500),
        ("1 h 5 s", 3_605_000),
        ("45", 45_000),
        (45, 45_000),
        (0.25, 250),
        (0, 0),
    ],
)
def test_durations_are_read(text: object, milliseconds: int) -> None:
    assert duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-5s", "5 parsecs", "5s!", -1, True, None, [], 1e12, float("nan")]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="Expected a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["0s", "250ms", "25s", "1h30m", "2d", "1m1s1ms"])
def test_a_written_duration_is_read_back(text: str) -> None:
    assert written(duration(text)) == text


@pytest.mark.parametrize(
    ("text", "count"), [(10, 10), ("10", 10), ("256KiB", 262_144), ("1 MB", 10**6)]
)
def test_sizes_are_read(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "KiB", "-1", -1, "1 furlong", True, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="Expected a size"):
        size(text)
