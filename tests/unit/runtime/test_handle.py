"""What a handle makes of what a store holds."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.support.factories import make_job
from treadle.runtime.context import Progress
from treadle.runtime.handle import Job


def handle(progress: bytes) -> Job[Any]:
    """Make a handle that has read this progress."""
    return Job(cast("Any", None), make_job(), None, progress)


def test_progress_is_what_the_handler_said() -> None:
    assert handle(b'{"done":1,"total":2,"note":"half"}').progress == Progress(
        done=1, total=2, note="half"
    )


@pytest.mark.parametrize("garbage", [b"\xff", b'{"done":1,"note":"\xff"}', b"[1]", b""])
def test_progress_that_cannot_be_read_is_none(garbage: bytes) -> None:
    assert handle(garbage).progress is None
