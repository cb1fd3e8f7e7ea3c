"""How the command fails: one code for each kind of error, a sentence, and no traceback."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Qrun
from treadle import errors
from treadle.cli.failures import as_known, exit_code

CODES = [
    (errors.AppNotFound("x"), 3),
    (errors.ConfigurationError("x"), 2),
    (errors.BrokerMissing("x"), 5),
    (errors.PluginError("x"), 5),
    (errors.BrokerUnavailable("x"), 4),
    (errors.BrokerRefused("x"), 4),
    (errors.StorageFull("x"), 4),
    (errors.QueueFull("x"), 4),
    (errors.Uncertain("x"), 4),
    (errors.TooLarge("x"), 2),
    (errors.KeyHeld("x"), 2),
    (errors.PayloadError("x"), 2),
    (errors.UnknownType("x"), 2),
    (errors.JobNotFound("x"), 2),
    (errors.IllegalTransition("x"), 2),
    (errors.SessionEnded("x", taken=True), 1),
    (errors.JobDead("x"), 1),
    (errors.ResultTimeout("x"), 124),
    (ZeroDivisionError("x"), 1),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: type(value).__name__)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_inside_a_group_is_found() -> None:
    inner = errors.BrokerUnavailable("away")

    group = ExceptionGroup("tasks", [ExceptionGroup("more", [inner])])

    assert as_known(group) is inner
    assert as_known(ValueError("x")) is None


def test_a_missing_plugin_ends_with_5_and_the_line_that_installs_it(qrun: Qrun) -> None:
    ran = qrun("jobs", "list", "--url", "redis://127.0.0.1")

    assert ran.code == 5
    assert "pip install treadle-redis" in ran.err


@pytest.mark.parametrize("name", ["web", "token"])
def test_a_command_of_a_plugin_that_is_not_loaded_ends_with_5_and_what_to_install(
    qrun: Qrun, name: str
) -> None:
    ran = qrun.process(name, QRUN_DISABLE_PLUGINS="web")

    assert ran.code == 5
    assert f"`qrun {name}` comes with treadle-web" in ran.err
    assert "pip install treadle-web" in ran.err


def test_a_broker_that_cannot_be_reached_ends_with_4_and_tells_where_the_url_came_from(
    qrun: Qrun,
) -> None:
    qrun.write("file", "")

    ran = qrun("jobs", "list", QRUN_URL=f"sqlite:///{qrun.folder}/file/jobs.db")

    assert ran.code == 4
    assert "QRUN_URL" in ran.err
    assert "Traceback" not in ran.err


def test_a_file_that_is_no_database_is_refused_and_left_alone(qrun: Qrun) -> None:
    qrun.write("jobs.db", "these are not the bytes of a database, but somebody's letter\n" * 50)
    before = (qrun.folder / "jobs.db").read_bytes()

    ran = qrun("jobs", "list")

    assert ran.code == 4
    assert (qrun.folder / "jobs.db").read_bytes() == before


def test_an_unknown_setting_ends_with_2_and_names_it(qrun: Qrun) -> None:
    qrun.write("treadle.toml", "[worker]\nconcurency = 3\n")

    ran = qrun("config")

    assert ran.code == 2
    assert "concurency" in ran.err
    assert "concurrency" in ran.err


def test_a_traceback_is_shown_only_if_asked(qrun: Qrun) -> None:
    quiet, verbose = qrun("jobs", "show", "x"), qrun("jobs", "show", "x", "-v")
    before = qrun("-v", "jobs", "show", "x")

    assert "Traceback" not in quiet.err
    assert "Traceback" in verbose.err
    assert "Traceback" in before.err


@pytest.mark.security(16)
@pytest.mark.parametrize("arguments", [("jobs", "list"), ("-v", "jobs", "list"), ("doctor",)])
def test_the_password_of_a_url_is_never_printed(qrun: Qrun, arguments: tuple[str, ...]) -> None:
    ran = qrun(*arguments, QRUN_URL="redis://ada:s3cret@127.0.0.1:1/0")

    assert ran.code in {1, 5}
    assert "s3cret" not in ran.out + ran.err


def test_the_password_of_a_url_is_masked_in_the_settings(qrun: Qrun) -> None:
    ran = qrun("config", "--json", "--url", "redis://ada:s3cret@cache")

    (url,) = [row for row in ran.objects if row["name"] == "url"]
    assert url["value"] == "redis://***@cache"
    assert url["origin"] == "flag"
    assert "s3cret" not in ran.out


def test_a_variable_that_only_an_option_reads_is_no_unknown_setting(qrun: Qrun) -> None:
    qrun("enqueue", "x", "--id", "a")
    qrun("enqueue", "x", "--id", "b")

    ran = qrun("jobs", "list", "--json", QRUN_JOBS_LIST_LIMIT="1", QRUN_WAIT_TIMEOUT="3")

    assert ran.code == 0
    assert len(ran.objects) == 1


def test_a_variable_that_nobody_reads_is_refused(qrun: Qrun) -> None:
    ran = qrun("jobs", "list", QRUN_JOBS_LIST_LIMT="1")

    assert ran.code == 2
    assert "QRUN_JOBS_LIST_LIMT" in ran.err


def test_a_reader_that_has_seen_enough_is_no_error(qrun: Qrun) -> None:
    lines = "".join('{"type":"x"}\n' for _ in range(3_000))
    qrun("enqueue", "--file", "-", input=lines)

    process = qrun.start("jobs", "list", "--json", "--limit", "0")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert process.wait(30) == 0
    assert err == ""
