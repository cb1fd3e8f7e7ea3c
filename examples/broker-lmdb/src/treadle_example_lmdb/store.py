"""The store: each namespace is a prefix of the keys of one LMDB file.

LMDB sorts keys and has transactions. What is left to do here: keys of more than 511 bytes, and room
that is kept free, because in a file that is full even a removal fails: pages are copied, then changed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path
from typing import Final

import lmdb

from treadle.broker.simple import Transaction
from treadle.errors import BrokerRefused, BrokerUnavailable, StorageFull
from treadle_example_lmdb.environment import Environment, Registry

_KEPT: Final = 400
"""How much of a key is stored as it is. Namespace and digest come to 81 bytes more."""
_DIGEST, _LENGTH = 16, 2
_MARK: Final = (b"\0treadle", b"1")
"""Says that the file is ours, and in which format. Sorts before every namespace."""
_ERASED_AT_ONCE: Final = 5_000
_NEW: Final = 3 / 4
_ALL: Final = 15 / 16
"""How full the file may get by new jobs, and by all that adds to it: the rest is for removals."""
_NOTHING: Final = 64
"""How many bytes a transaction may add and still count as one that only changes something."""

adding: ContextVar[bool] = ContextVar("adding", default=False)
"""Whether this call brings new jobs."""

_registry: Final = Registry()


class View:
    """One transaction, as one namespace sees it."""

    def __init__(self, transaction: lmdb.Transaction[bytes], prefix: bytes) -> None:
        self.grown = 0
        """How many bytes more there are than at its beginning."""
        self._transaction = transaction
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None if there is none."""
        value = self._transaction.get(self._stored(key))
        return value if value is None or len(key) <= _KEPT else value[_LENGTH + len(key) :]

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value, over an earlier one if there is one."""
        if len(key) > _KEPT:
            value = len(key).to_bytes(_LENGTH, "big") + key + value
        old = self._transaction.replace(self._stored(key), value)
        self.grown += len(value) + (len(key) if old is None else -len(old))

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no mistake."""
        if (old := self._transaction.pop(self._stored(key))) is not None:
            self.grown -= len(key) + len(old)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values with `start <= key < end` in the order of their bytes."""
        if max(len(start), len(end)) > _KEPT:
            raise ValueError(f"keys are sorted by their first {_KEPT} bytes: {start!r} to {end!r}")
        low, high = self._prefix + start, self._prefix + end
        with self._transaction.cursor() as cursor:
            if not reverse and cursor.set_range(low):
                for stored, value in cursor.iternext():
                    if stored >= high:
                        return
                    yield self._read(stored, value)
            elif reverse and (cursor.prev() if cursor.set_range(high) else cursor.last()):
                for stored, value in cursor.iterprev():
                    if stored < low:
                        return
                    yield self._read(stored, value)

    def _stored(self, key: bytes) -> bytes:
        if len(key) > _KEPT:
            key = key[:_KEPT] + blake2b(key, digest_size=_DIGEST).digest()
        return self._prefix + key

    def _read(self, stored: bytes, value: bytes) -> tuple[bytes, bytes]:
        key = stored[len(self._prefix) :]
        if len(key) <= _KEPT:
            return key, value
        end = _LENGTH + int.from_bytes(value[:_LENGTH], "big")
        return value[_LENGTH:end], value[end:]


class LmdbStorage:
    """One namespace of a file."""

    def __init__(self, folder: Path, namespace: str, size: int) -> None:
        self._folder = folder
        self._prefix = f"{namespace}/".encode()
        self._size = size
        self._environment: Environment | None = None

    def open(self) -> None:
        """Create folder and file if they are not there; refuse a file that is not ours."""
        mark: bytes | None = None
        try:
            mark = self._marked()
        finally:
            if mark != _MARK[1]:
                self.close()
        if mark != _MARK[1]:
            whose = "another program" if mark is None else "a newer version of this broker"
            raise BrokerRefused(f"{self._folder} belongs to {whose}: name another folder")

    def _marked(self) -> bytes | None:
        """Return the mark of the file; one that is empty gets ours."""
        with self._explained() as environment, environment.transaction(write=True) as transaction:
            if transaction.stat()["entries"] == 0:
                transaction.put(*_MARK)
            return transaction.get(_MARK[0])

    def close(self) -> None:
        """Release the file; what is stored stays."""
        environment, self._environment = self._environment, None
        if environment is not None:
            _registry.give_back(environment)

    def erase(self) -> None:
        """Remove all keys of the namespace; their pages are used again, the file does not shrink."""
        left = (self._folder / "data.mdb").exists()
        with self._explained() as environment:
            while left:
                with environment.transaction(write=True) as transaction:
                    left = self._erase_some(transaction)

    def _erase_some(self, transaction: lmdb.Transaction[bytes]) -> bool:
        """Remove some keys; a transaction that removed a million would need a lot of room."""
        with transaction.cursor() as cursor:
            cursor.set_range(self._prefix)
            for _ in range(_ERASED_AT_ONCE):
                if not cursor.key().startswith(self._prefix):
                    return False
                cursor.delete()
        return True

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[Transaction]:
        """Give a transaction for as long as the block runs."""
        with self._explained() as environment, environment.transaction(write=write) as transaction:
            view = View(transaction, self._prefix)
            yield view
            if view.grown > _NOTHING and environment.used() > (_NEW if adding.get() else _ALL):
                raise lmdb.MapFullError("the rest is for what removes jobs")

    @contextmanager
    def _explained(self) -> Generator[Environment]:
        """Give the environment; turn what LMDB raises into what the protocol knows."""
        if self._environment is None:
            self._environment = _registry.take(self._folder, self._size)
        try:
            yield self._environment
        except (lmdb.MapFullError, lmdb.TxnFullError, lmdb.DiskError) as error:
            limit = (
                f"its URL allows {self._size >> 20} MiB: remove jobs, or restart with more map_mib"
            )
            raise StorageFull(f"{self._folder} is full ({error}); {limit}") from error
        except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
            raise BrokerRefused(f"{self._folder} holds no usable LMDB file: {error}") from error
        except lmdb.Error as error:
            raise BrokerUnavailable(f"{self._folder}: {error}") from error
