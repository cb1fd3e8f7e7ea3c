"""Session names: the host's name and the first free number on it, held by a file lock.

A worker that is restarted in place finds its number free again, opens its session under the same
name, and so takes over the leases of its former life at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

from treadle.errors import ConfigurationError

_LOCKS = importlib.util.find_spec("fcntl") is not None

_MOST = 1_000


class HeldName:
    """A session name that no other process of this host and user has while this one lives."""

    def __init__(self, name: str, file: IO[str] | None) -> None:
        self.name = name
        self._file = file

    def release(self) -> None:
        """Let others have the name."""
        if self._file is not None:
            self._file.close()
            self._file = None


def hold_name(store: str, host: str = "") -> HeldName:
    """Take the first free name of this host for a store (its URL).

    Where the system has no file locks, the process id makes the name unique: a restart in place then
    waits for one lease.

    Raises:
        ConfigurationError: if no lock file can be made, or all numbers are taken.
    """
    host = host or socket.gethostname().split(".")[0] or "host"
    if not _LOCKS:
        return HeldName(f"{host}-p{os.getpid()}", None)
    folder = _folder(store)
    for number in range(1, _MOST):
        path = folder / f"{host}-{number}"
        try:
            file = path.open("a")
        except OSError as error:
            raise ConfigurationError(f"cannot use {path}: {error.strerror}; give --name") from error
        try:
            _lock(file)
        except OSError:
            file.close()
            continue
        return HeldName(f"{host}-{number}", file)
    raise ConfigurationError(f"all worker names {host}-1 to {host}-{_MOST} are taken; give --name")


def _lock(file: IO[str]) -> None:
    import fcntl  # noqa: PLC0415 - not every system has it

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _folder(store: str) -> Path:
    digest = hashlib.sha256(store.encode()).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(runtime) / f"treadle-{os.getuid()}" / digest
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.parent.stat().st_uid != os.getuid():
            raise ConfigurationError(f"{folder} belongs to another user; give --name")
    except OSError as error:
        raise ConfigurationError(f"cannot make {folder} for worker names: {error}") from error
    return folder
