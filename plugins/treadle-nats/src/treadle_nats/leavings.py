"""Tables that a process leaves when it ends, for the next one of its user on this machine.

Whoever starts takes them, so that only what happened since need be read; they are one process's then, as
all tables are. They are used only if the log still goes on behind them, by the same last message. A file
that was not forced to the disk is whole as long as the machine runs: each names the boot that it is of, and
where a machine does not tell that, nothing is left.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from treadle.errors import BrokerError
from treadle_nats import private
from treadle_nats.link import Link
from treadle_nats.log import Log
from treadle_nats.replica import Replica
from treadle_nats.snapshots import Manifest, latest
from treadle_nats.streams import Life, stored

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAME: Final = re.compile(
    r"(?P<log>.+)\.(?P<boot>[0-9a-f-]{36})\.(?P<seq>\d{1,18})\.(?P<at>\d{1,18})"
)
_LEAST: Final = 1024 * 1024
"""What is smaller is read as fast from the server."""
_MOST: Final = 1024 * 1024 * 1024
"""What is larger would take too long at the end of a process."""
_SPARE: Final = 4
"""So many times what is left must be free where it is left: that may be memory."""
_PART: Final = "part"
_KEPT: Final = 8
"""So many namespaces may have some here."""


class Left(Struct, frozen=True):
    """Where tables end that somebody left."""

    path: Path
    log: str
    boot: str
    seq: int
    """The last message that is in them."""
    at: int
    """When the server took it, in ms."""


async def put(link: Link, log: Log) -> None:
    """Leave a copy of the tables as they are; if that cannot be, the next process asks the server."""
    boot, folder, file = _boot(), _folder(), log.replica.file
    if not boot or folder is None or file is None or log.broken is not None or not link.is_up:
        return
    size = os.fstat(file.fileno()).st_size
    if not _LEAST <= size <= _MOST:
        return
    with suppress(BrokerError, OSError):
        if _free(folder) < _SPARE * size:
            return
        last = await stored(link, log.applied)
        if last is None or last.seq != log.applied:
            return
        with _alone(folder):
            if _last(folder, log.life, boot, last.seq - log.messages(_LEAST)):
                return  # that is good enough
            _copy(file, folder / f"{log.life.log}.{boot}.{last.seq}.{last.at}")
            _tidy(folder, log.life, boot, last.seq)


async def taken(link: Link, life: Life) -> tuple[Replica, Manifest | None] | None:
    """Return tables that were left here and the last snapshot, or None if none are of use.

    Raises:
        BrokerUnavailable: if the server does not answer.
    """
    boot, folder = _boot(), _folder()
    left = None if folder is None else _last(folder, life, boot)
    if left is None:
        return None
    mine = left.path.with_name(f"taken.{os.getpid()}.{left.path.name}")
    try:
        left.path.rename(mine)  # whoever is quicker has it
        if not await _goes_on(link, left):
            mine.unlink()
            return None
        replica = Replica(*private.adopt(mine))
    except (OSError, sqlite3.DatabaseError):
        return None
    manifest, _ = await latest(link, life)
    return replica, manifest


def forget(life: Life) -> None:
    """Remove what was left of a log that is erased."""
    folder = _folder()
    if folder is None:
        return
    for left in _found(folder):
        if left.log == life.log:
            with suppress(OSError):
                left.path.unlink()


async def _goes_on(link: Link, left: Left) -> bool:
    """Tell whether the log has the last message of what was left, so that one can read on behind it."""
    last = await stored(link, left.seq)
    return last is not None and last.at == left.at


def _last(folder: Path, life: Life, boot: str, least: int = 0) -> Left | None:
    """Return the last tables of a life that were left, from message `least` on."""
    own = (one for one in _found(folder) if (one.log, one.boot) == (life.log, boot))
    return max((one for one in own if one.seq >= least), key=lambda one: one.seq, default=None)


def _tidy(folder: Path, life: Life, boot: str, seq: int) -> None:
    """Remove what is of no use any more, and the oldest if there are too many."""
    every = sorted(_found(folder), key=lambda one: one.path.stat().st_mtime_ns)
    for number, one in enumerate(every, _KEPT - len(every)):
        is_older = one.log == life.log and one.seq < seq
        if number < 0 or one.boot != boot or is_older:
            one.path.unlink(missing_ok=True)


def _boot() -> str:
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def _folder() -> Path | None:
    """Return where tables are left; None unless it is ours, and nobody else's to look into."""
    folder = Path(tempfile.gettempdir()) / f"treadle-nats-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_ours and not found.st_mode & 0o077 else None


def _free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _found(folder: Path) -> Iterator[Left]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is not None:
            yield Left(path, match["log"], match["boot"], int(match["seq"]), int(match["at"]))


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Let one process at a time leave something: of many that end together the first one does.

    Raises:
        OSError: if another one is at it.
    """
    import fcntl  # noqa: PLC0415 - not every system has it

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _copy(file: BinaryIO, target: Path) -> None:
    """Copy a file within the system, which shares the blocks where it can; all of it or nothing."""
    part = target.parent / _PART
    size, at = os.fstat(file.fileno()).st_size, 0
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while at < size:
            done = os.copy_file_range(file.fileno(), handle, size - at, at)
            if done == 0:
                raise OSError(f"{part}: the copy ended early")
            at += done
        part.rename(target)
    finally:
        os.close(handle)
        part.unlink(missing_ok=True)
