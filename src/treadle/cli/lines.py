"""Files of jobs: one JSON object a line, each checked before anything is enqueued."""

from __future__ import annotations

import codecs
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, get_args

import msgspec
from msgspec import Raw, Struct

from treadle.domain.job import Job
from treadle.errors import ConfigurationError, TreadleError
from treadle.runtime.job_options import PriorityName

_LONGEST = 16 * 1024 * 1024
_PRIORITY = "`$.priority`"


class Line(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: a job as somebody outside writes it down."""

    type: str
    payload: Raw = Raw(b"{}")
    id: str | None = None
    queue: str | None = None
    priority: PriorityName | None = None
    delay: float | str | None = None
    """Seconds, or text such as `5m`."""
    unique: str | None = None


class Good(Struct, frozen=True):
    """A line as a job."""

    job: Job
    named: bool
    """The line gives the id."""


class Bad(Struct, frozen=True):
    """A line that cannot be enqueued."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.why}"


Make = Callable[[Line], Job]
"""Turns a line into a job; raises a TreadleError that says what does not fit."""


@contextmanager
def opened(name: str) -> Generator[IO[bytes]]:
    """Open a file of jobs so that it can be read twice; `-` is stdin.

    Raises:
        ConfigurationError: if it cannot be read.
    """
    if name != "-":
        try:
            file = Path(name).open("rb")  # noqa: SIM115 - the block below closes it
        except OSError as error:
            raise ConfigurationError(f"cannot read {name}: {error.strerror}") from error
        with file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        yield copy


def read(file: IO[bytes], make: Make) -> Iterator[Good | Bad]:
    """Yield a job, or what is wrong, for every line that is not blank; from the start."""
    file.seek(0)
    decoder = msgspec.json.Decoder(Line)
    number = 0
    while text := file.readline(_LONGEST + 1):
        number += 1
        if number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)  # some editors and shells begin files with it
        if len(text) > _LONGEST:
            yield Bad(number, f"longer than {_LONGEST} bytes; the rest of the file is not read")
            return
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
            yield Good(make(line), line.id is not None)
        except (msgspec.DecodeError, TreadleError, UnicodeDecodeError) as error:
            yield Bad(number, _why(error, text))
        except RecursionError:
            yield Bad(number, "nested too deeply")


def _why(error: Exception, text: bytes) -> str:
    why = str(error).removesuffix(" Nothing was enqueued.")
    if isinstance(error, msgspec.DecodeError) and b"\\ud" in text.lower():
        why += " (perhaps a lone surrogate, which is no text)"
    if isinstance(error, msgspec.DecodeError) and why.endswith(_PRIORITY):
        why += "; one of " + ", ".join(get_args(PriorityName))
    return why


def batches(file: IO[bytes], make: Make, size: int) -> Iterator[list[Good]]:
    """Yield the good lines of a file, `size` at a time."""
    batch: list[Good] = []
    for item in read(file, make):
        if isinstance(item, Bad):
            continue
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
