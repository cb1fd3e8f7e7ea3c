"""How long exit hooks of an application may take."""

from __future__ import annotations

import pytest

from treadle.runtime.ending import hooks_s, signal_name


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("grace_left", "seconds"),
    [(None, 5.0), (25.0, 5.0), (1.0, 2.75), (0.0, 1.75), (-1.5, 0.25), (-60.0, 0.05)],
)
def test_exit_hooks_end_within_the_two_seconds_after_the_grace_period(
    grace_left: float | None, seconds: float
) -> None:
    assert hooks_s(grace_left) == pytest.approx(seconds)


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert [signal_name(9), signal_name(63)] == ["SIGKILL", "signal 63"]
