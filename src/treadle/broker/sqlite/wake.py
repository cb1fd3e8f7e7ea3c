"""How a waiting claim hears that something became claimable, in this process and in others.

Theory of operation. Beside the file lies a directory of datagram sockets: one for each broker
that waits. Who makes a job claimable sends the names of its queues there, and keeps the side lock until
it is committed; who waits wakes, takes the lock, and claims. A datagram is a hint: a lost one costs a
second, since those who wait also look at the file once a second (where there are no such sockets,
twenty times a second).

No wake-up falls between two chairs: a waiter takes its place BEFORE it looks for jobs, so whatever is
committed after that look finds it waiting. What was sent while nobody waited is thrown away first.

A busy worker never waits, so its socket fills up and sending to it fails at once, for next to nothing.
A socket nobody holds open refuses the connection and is removed by who finds out.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio

from treadle.broker.sqlite.location import Location

HAS_SOCKETS: Final = hasattr(socket, "AF_UNIX") and os.name == "posix"
FALLBACK_SECONDS: Final = 1.0 if HAS_SOCKETS else 0.05
"""How often who waits looks at the file."""

CLAIMS: Final = "claims"
EVENTS: Final = "events"
"""The kinds of bells: the endings of their sockets."""

_EVERYBODY = b"*"
_LONGEST_PATH = 100
_LONGEST_MESSAGE = 4_096


class Waiter:
    """One call that waits: for jobs of some queues, or, without names, for anything."""

    __slots__ = ("event", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.event = anyio.Event()

    def wants(self, names: frozenset[str] | None) -> bool:
        """Tell whether news about these queues concern it; None = about all."""
        return names is None or not self.names or not self.names.isdisjoint(names)


class Bell:
    """Wakes the waiting calls of one broker: those that claim, or those that read events."""

    def __init__(self, location: Location, kind: str) -> None:
        self._location = location
        self._ending = kind
        self._waiters: set[Waiter] = set()
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._listener: Waiter | None = None

    def add(self, waiter: Waiter) -> None:
        """Let a call take its place. What was sent before is of no interest."""
        self._waiters.add(waiter)
        if self._listener is None:
            if self._path is None or not self._path.exists():
                self._open()
            self._drain()

    def remove(self, waiter: Waiter) -> None:
        """Let a call leave; the socket of who reads events closes with the last of them."""
        self._waiters.discard(waiter)
        if not self._waiters and self._ending == EVENTS:
            self.close()

    def ring(self, names: frozenset[str] | None) -> None:
        """Wake all whom news about these queues concern (on the loop)."""
        self._ring(names)
        listener = self._listener
        if listener is not None and listener.event.is_set():
            self._wake_listener()

    async def wait(self, waiter: Waiter, seconds: float) -> None:
        """Sleep until the waiter is rung, at most `seconds`. The first who waits listens for all."""
        with anyio.move_on_after(max(seconds, 0)):
            if self._socket is None or self._listener is not None:
                await waiter.event.wait()
                return
            self._listener = waiter
            try:
                await self._listen(waiter, self._socket)
            finally:
                self._listener = None
                self._hand_on(waiter)

    def close(self) -> None:
        """Remove the socket."""
        if self._socket is not None:
            if self._listener is not None:
                anyio.notify_closing(self._socket)
            self._socket.close()
            self._socket = None
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()  # if nobody else has a socket there
            self._path = None

    async def _listen(self, waiter: Waiter, listening: socket.socket) -> None:
        with suppress(anyio.ClosedResourceError):
            while not waiter.event.is_set():
                await anyio.wait_readable(listening)
                self._ring_read(listening)

    def _ring(self, names: frozenset[str] | None) -> None:
        for waiter in self._waiters:
            if waiter.wants(names):
                waiter.event.set()

    def _ring_read(self, listening: socket.socket) -> None:
        while True:
            try:
                message = listening.recv(_LONGEST_MESSAGE)
            except OSError:  # nothing left, or closed
                return
            if message:
                everybody = message == _EVERYBODY
                self._ring(None if everybody else frozenset(message.decode().split("\n")))

    def _wake_listener(self) -> None:
        """Send something to the own socket, which is what the listener waits for."""
        if self._socket is not None and self._path is not None:
            with suppress(OSError):  # full: it wakes anyhow
                self._socket.sendto(b"", str(self._path))

    def _hand_on(self, leaver: Waiter) -> None:
        """Wake another one that sleeps: it looks again, and then listens for the rest."""
        for waiter in self._waiters:
            if waiter is not leaver and not waiter.event.is_set():
                waiter.event.set()
                return

    def _open(self) -> None:
        self.close()
        directory = wake_directory(self._location)
        if directory is None:
            return
        path = directory / f"{os.getpid()}-{time.monotonic_ns():x}.{self._ending}"
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.bind(str(path))
            path.chmod(0o600)
        except OSError:
            opened.close()  # waiting works without it, a little slower
            return
        self._socket, self._path = opened, path

    def _drain(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                while True:
                    self._socket.recv(_LONGEST_MESSAGE)


class Ringer:
    """Tells the waiting brokers of all processes (in the thread that commits)."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._socket: socket.socket | None = None
        self._directory: str | None = None

    def ring(self, names: AbstractSet[str] | None) -> None:
        """Send news about queues to who claims; None = about all. They may come before the commit."""
        self._send_all(CLAIMS, _message(names))

    def ring_readers(self) -> None:
        """Tell who reads events that there are some. They can be read already."""
        self._send_all(EVENTS, _EVERYBODY)

    def _send_all(self, ending: str, message: bytes) -> None:
        if not HAS_SOCKETS:
            return
        # Text instead of paths: an idle worker waits for this, and it costs a third (0.06 ms).
        directory = self._directory or self._find()
        if directory is None:
            return
        try:
            found = os.listdir(directory)  # noqa: PTH208
        except OSError:
            return
        for name in found:
            if name.endswith(ending):
                self._send(f"{directory}/{name}", message)

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _find(self) -> str | None:
        """Find the directory once: it depends on nothing but the location and the user."""
        directory = wake_directory(self._location, create=False)
        if directory is not None:
            self._directory = str(directory)
        return self._directory

    def _send(self, path: str, message: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        try:
            self._socket.sendto(message, path)
        except ConnectionRefusedError:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - its process is gone
        except OSError:
            return  # full (it does not wait), or gone: it looks for itself


def _message(names: AbstractSet[str] | None) -> bytes:
    if names is None:
        return _EVERYBODY
    message = "\n".join(names).encode("utf-8", "replace")
    return message if len(message) <= _LONGEST_MESSAGE else _EVERYBODY


def wake_directory(location: Location, *, create: bool = True) -> Path | None:
    """Return the directory of the sockets; None if there can be none.

    It lies beside the file, or, if that path is too long for a socket, among the files of this
    user's session, under a name made from the path.
    """
    if not HAS_SOCKETS:
        return None
    directory = location.wake
    if len(os.fsencode(directory)) + len("/4194304-ffffffffffffffff.claims") > _LONGEST_PATH:
        runtime = _runtime_directory(create=create)
        if runtime is None:
            return None
        name = hashlib.sha256(os.fsencode(location.file.resolve())).hexdigest()[:16]
        directory = runtime / f"{name}.wake"
    if create:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return None
    return directory


def _runtime_directory(*, create: bool) -> Path | None:
    """Return a short directory that belongs to this user alone."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and len(given) < 40 and Path(given).is_dir():
        return Path(given)
    directory = Path(tempfile.gettempdir()) / f"treadle-wake-{os.getuid()}"
    try:
        if create:
            directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return None
    is_ours = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return directory if is_ours and directory.is_dir() and not directory.is_symlink() else None
