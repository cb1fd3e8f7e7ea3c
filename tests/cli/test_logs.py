"""What a worker writes about its jobs: readable by machines, and safe to read for people."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.logs import configure, escape, escape_json
from treadle.settings import LogFormat, LogLevel

HOSTILE = "a\nb\r\x1b[31mred\x1b[0m \u202egnp.exe \u2066x\u2069 \x85 \u2028 \x00 \ud800"


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _written(
    format: LogFormat,
    *,
    level: LogLevel = LogLevel.INFO,
    error: Exception | None = None,
    **extra: object,
) -> str:
    stream = io.StringIO()
    configure(format=format, level=level, stream=stream)
    logging.getLogger("treadle.job").info("job_ended", extra=extra, exc_info=error)
    return stream.getvalue()


@pytest.mark.contract("F17")
def test_a_json_line_carries_job_id_and_status() -> None:
    line = json.loads(_written(LogFormat.JSON, job_id="j-1", status="succeeded", ran_ms=7))

    assert line["event"] == "job_ended"
    assert (line["job_id"], line["status"], line["ran_ms"]) == ("j-1", "succeeded", 7)
    assert line["level"] == "info"
    assert line["logger"] == "treadle.job"
    assert line["timestamp"].endswith("Z")


@pytest.mark.contract("F17")
@pytest.mark.parametrize("format", [LogFormat.CONSOLE, LogFormat.LOGFMT])
def test_a_text_line_carries_job_id_and_status(format: LogFormat) -> None:
    line = _written(format, job_id="j-1", status="succeeded")

    assert "job_ended" in line
    assert "job_id=j-1" in line
    assert "status=succeeded" in line


@pytest.mark.contract("F17")
@pytest.mark.parametrize("format", list(LogFormat))
def test_what_uvicorn_says_for_terminals_is_left_out(format: LogFormat) -> None:
    assert "%d" not in _written(format, color_message="Started [%d]")


def test_lines_below_the_level_are_not_written() -> None:
    assert _written(LogFormat.JSON, level=LogLevel.WARN, job_id="j-1") == ""


@pytest.mark.parametrize("format", list(LogFormat))
def test_what_a_job_brings_cannot_start_a_line_or_move_the_cursor(format: LogFormat) -> None:
    text = _written(format, job_id=HOSTILE)

    assert text.count("\n") == 1
    assert all(
        unicodedata.category(char) not in {"Cc", "Cf", "Zl", "Zp", "Cs"} for char in text[:-1]
    )


@pytest.mark.parametrize("format", [LogFormat.CONSOLE, LogFormat.LOGFMT])
def test_the_lines_of_an_exception_cannot_pose_as_lines_of_the_log(format: LogFormat) -> None:
    forged = ValueError("x\n2026-01-01T00:00:00Z [error] job_ended job_id=forged\x1b[2J")

    text = _written(format, error=forged, job_id="j-1")

    assert "\x1b" not in text
    assert not any(line.startswith("2026-01-01T00:00:00Z [error]") for line in text.splitlines())


@pytest.mark.security(16)
@pytest.mark.parametrize("format", list(LogFormat))
def test_user_and_password_of_a_url_are_masked(format: LogFormat) -> None:
    secret = ConnectionError("cannot reach redis://ada:secret@cache:6379/0")

    text = _written(format, error=secret, url="postgres://ada:secret@db/jobs", status="failed")

    assert "secret" not in text
    assert "cache:6379" in text


@pytest.mark.security(16)
@pytest.mark.parametrize("format", list(LogFormat))
def test_fields_that_are_to_be_redacted_are_not_written(format: LogFormat) -> None:
    stream = io.StringIO()
    configure(format=format, stream=stream, redact=["*.password"])
    extra = {"password": "sesame", "payload": {"user": "ada", "inner": [{"password": "sesame"}]}}

    logging.getLogger("shop").info("signed_up", extra=extra)

    assert "sesame" not in stream.getvalue()
    assert "ada" in stream.getvalue()


def test_a_terminal_gets_console_lines_and_a_pipe_gets_json() -> None:
    assert configure(stream=_Terminal()) is LogFormat.CONSOLE
    assert configure(stream=io.StringIO()) is LogFormat.JSON


@pytest.mark.security(17)
@given(st.text(alphabet=st.characters()))
def test_escaped_text_holds_no_control_character(text: str) -> None:
    assert not [char for char in escape(text) if unicodedata.category(char) in {"Cc", "Cs"}]


@given(st.dictionaries(st.text(), st.text()))
def test_escaped_json_is_the_same_json(value: dict[str, str]) -> None:
    line = escape_json(json.dumps(value, ensure_ascii=False))

    assert json.loads(line) == value
    assert "\n" not in line
