"""The history of a racer that may be killed: each call is on disk before it is made.

A kill leaves what was written before it; a call without an answer then counts as one that may have had
its effect, which is what it is.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import msgspec
from msgspec import Struct

from treadle.conformance.history import Answer, Call, History
from treadle.conformance.history.events import NOTHING, What

_encode = msgspec.json.Encoder().encode


class _Line(Struct):
    number: int


class Journal(History):
    """A history that is written down call by call."""

    def __init__(self, file: FileIO) -> None:
        super().__init__(time.monotonic_ns)
        self._file = file

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Generator[Journal]:
        """Begin a journal in a file of its own."""
        with path.open("wb", buffering=0) as file:
            yield cls(file)

    def begin(self, client: str, what: What) -> Call:
        """Note that a call begins, before it does."""
        call = super().begin(client, what)
        self._write(call)
        return call

    def ok(self, call: Call, answer: Answer = NOTHING) -> None:
        """Note that a call was answered."""
        super().ok(call, answer)
        self._write(call)

    def failed(self, call: Call, error: BaseException) -> None:
        """Note that a call was not answered."""
        super().failed(call, error)
        self._write(call)

    def _write(self, call: Call) -> None:
        self._file.write(_encode(call) + b"\n")


def whole_calls(log: bytes) -> bytes:
    """Return a journal with one line for each call, the last that was written; a torn end is left out."""
    lines: dict[int, bytes] = {}
    decode = msgspec.json.Decoder(_Line).decode
    for line in log.splitlines(keepends=True):
        if line.endswith(b"\n"):
            lines[decode(line).number] = line
    return b"".join(lines.values())
