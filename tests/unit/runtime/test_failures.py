"""What a handler raises becomes an outcome with safe text, whatever the exception is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec
import pytest

from treadle.domain.job import After, At, ErrorInfo
from treadle.domain.limits import ERROR_CHARS
from treadle.domain.outcome import Cancelled, Failed, Snoozed
from treadle.domain.state import Reason
from treadle.errors import ConfigurationError
from treadle.runtime import policies
from treadle.runtime.failures import failure, readable
from treadle.runtime.signals import Cancel, GiveUp, Retry, Snooze


def _raised(error: BaseException) -> BaseException:
    with pytest.raises(BaseException) as caught:
        raise error
    return caught.value


def _refuse() -> NoReturn:
    raise ConnectionError("refused")


def _failed(error: BaseException) -> Failed:
    outcome = failure(_raised(error))
    assert isinstance(outcome, Failed)
    return outcome


def _is_storable(error: ErrorInfo) -> bool:
    return bool(msgspec.json.encode(error))


def test_an_exception_is_kept_as_type_message_and_traceback() -> None:
    failed = _failed(ValueError("no such order"))

    assert (failed.error.type, failed.error.message) == ("ValueError", "no such order")
    assert "raise error" in failed.error.traceback
    assert failed.error.traceback.endswith("ValueError: no such order\n")
    assert failed.kinds[:2] == ("builtins.ValueError", "builtins.Exception")


def test_the_traceback_shows_no_frame_of_treadle() -> None:
    nothing: Any = None
    with pytest.raises(AttributeError) as caught:
        policies.qualified(nothing)

    traceback = _failed(caught.value).error.traceback
    assert "test_failures.py" in traceback
    assert "policies.py" not in traceback


@pytest.mark.promise(10)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("base")])
def test_an_exception_that_would_end_a_process_is_a_failure(error: BaseException) -> None:
    assert _failed(error).error.type == type(error).__name__


class RaisingStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class EndingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class LongStr(Exception):
    def __str__(self) -> str:
        return "x" * 10_000_000


class RecursiveStr(Exception):
    def __str__(self) -> str:
        return str(self)


class _Liar(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("which module?")


class LyingClass(Exception, metaclass=_Liar):
    pass


@pytest.mark.promise(10, 12)
@pytest.mark.parametrize(
    "error",
    [
        RaisingStr(),
        EndingStr(),
        LongStr(),
        RecursiveStr(),
        LyingClass("lies"),
        MemoryError(),
        ValueError("\ud800 lone"),
        ValueError("\x00 \x1b[31m"),
        ExceptionGroup("\udfff", [RaisingStr(), EndingStr()]),
        KeyError(RaisingStr()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hostile_exception_gives_safe_bounded_text(error: BaseException) -> None:
    failed = _failed(error)

    assert _is_storable(failed.error)
    assert failed.error.type
    assert len(failed.error.traceback) <= ERROR_CHARS
    assert len(failed.error.message) <= ERROR_CHARS


@pytest.mark.promise(10)
def test_a_runaway_recursion_is_a_failure_with_both_ends_of_its_stack() -> None:
    def deeper(depth: int) -> NoReturn:
        deeper(depth + 1)

    with pytest.raises(RecursionError) as caught:
        deeper(0)

    error = _failed(caught.value).error
    assert error.type == "RecursionError"
    assert len(error.traceback) < ERROR_CHARS
    assert "frames left out" in error.traceback


def test_causes_are_in_the_traceback() -> None:
    def connect() -> NoReturn:
        try:
            _refuse()
        except ConnectionError as error:
            raise RuntimeError("no database") from error

    with pytest.raises(RuntimeError) as caught:
        connect()

    traceback = _failed(caught.value).error.traceback
    assert "ConnectionError: refused" in traceback
    assert "direct cause" in traceback


def test_a_group_names_its_members_and_one_of_a_single_member_counts_as_that() -> None:
    several = _failed(ExceptionGroup("both", [ValueError("a"), KeyError("b")]))
    single = _failed(ExceptionGroup("outer", [ExceptionGroup("inner", [TimeoutError("late")])]))

    assert "ValueError: a" in several.error.message
    assert "KeyError: 'b'" in several.error.message
    assert "builtins.ValueError" not in several.kinds
    assert "builtins.TimeoutError" in single.kinds
    assert "builtins.ExceptionGroup" in single.kinds


def test_lone_surrogates_become_escapes() -> None:
    assert readable("a\ud800b") == "a\\ud800b"
    assert readable("Grüße") == "Grüße"


# Signals


def test_retry_brings_its_own_delay() -> None:
    later = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)

    assert _failed(Retry(after=5)).retry_after == After(5_000)
    assert _failed(Retry(after=timedelta(seconds=1))).retry_after == After(1_000)
    assert _failed(Retry(after=later)).retry_after == At(60_000)


def test_a_plain_retry_asks_for_another_attempt_and_leaves_the_delay_to_the_policy() -> None:
    failed = _failed(Retry("busy"))

    assert failed.again
    assert failed.retry_after is None
    assert failed.error == ErrorInfo(type="Retry", message="busy", traceback=failed.error.traceback)


def test_what_led_to_a_retry_is_what_the_history_shows() -> None:
    def call() -> NoReturn:
        try:
            _refuse()
        except ConnectionError:
            raise Retry("not up yet", after=1) from None

    def call_again() -> NoReturn:
        try:
            _refuse()
        except ConnectionError as error:
            raise Retry(after=1) from error

    with pytest.raises(Retry) as alone:
        call()
    with pytest.raises(Retry) as caused:
        call_again()

    assert _failed(alone.value).error.message == "not up yet"
    assert _failed(caused.value).error.type == "ConnectionError"
    assert _failed(caused.value).error.message == "refused"


def test_snooze_gives_up_nothing_and_says_when() -> None:
    assert failure(Snooze(2.5)) == Snoozed(due=After(2_500))
    assert failure(Snooze(until=datetime(1970, 1, 1, 0, 1, tzinfo=UTC))) == Snoozed(due=At(60_000))


def test_give_up_and_cancel_end_the_job() -> None:
    gave_up = _failed(GiveUp("no such customer"))

    assert (gave_up.give_up, gave_up.reason) == (True, Reason.GIVEN_UP)
    assert gave_up.error.message == "no such customer"
    assert failure(Cancel("not wanted")) == Cancelled(detail="not wanted")


def test_a_signal_alone_in_a_group_is_still_that_signal() -> None:
    assert failure(ExceptionGroup("tasks", [Snooze(1)])) == Snoozed(due=After(1_000))


def test_a_signal_beside_another_exception_is_a_failure() -> None:
    assert _failed(ExceptionGroup("tasks", [Snooze(1), ValueError("no")])).error.type == (
        "ExceptionGroup"
    )


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1,), {"until": datetime(2025, 1, 1, tzinfo=UTC)})]
)
def test_a_snooze_needs_exactly_one_time(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="one of"):
        Snooze(*args, **kwargs)
