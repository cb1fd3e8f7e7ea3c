"""What handlers note about a job: steps, progress, log lines."""

from __future__ import annotations

from collections import deque
from typing import assert_never

from treadle.broker.values import LogLine, Note, Noted, Notes, Progress, Step
from treadle.domain.limits import LOG_LINES

_WRITTEN = Noted()


class Notebook:
    """The notes of one job; it goes with the record and outlives attempts."""

    __slots__ = ("_lines", "_progress", "_steps")

    def __init__(self) -> None:
        self._progress: bytes | None = None
        self._lines: deque[tuple[int, int, str]] = deque(maxlen=LOG_LINES)
        self._steps: dict[str, bytes] = {}

    def write(self, note: Note) -> Noted:
        """Write one note; a step that is there stays, and is returned."""
        match note:
            case Step(name=name, data=data):
                existing = self._steps.get(name)
                if existing is not None:
                    return Noted(existing=existing)
                self._steps[name] = data
            case Progress(data=data):
                self._progress = data
            case LogLine(lease=lease, at=at, text=text):
                self._lines.append((lease.fence, at, text))
            case _:
                assert_never(note)
        return _WRITTEN

    def read(self) -> Notes:
        """Return everything that was noted."""
        return Notes(
            progress=self._progress, log=tuple(self._lines), steps=tuple(self._steps.items())
        )
