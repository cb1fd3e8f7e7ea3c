"""What a simple broker needs of its store: sorted keys, and transactions that exclude each other.

Keys and values are bytes. Everything else - what is written under which key, and when - is the
business of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Transaction(Protocol):
    """A view of the store that nobody else changes while it is open, and that sees its own writes."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None if there is none."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value, over an earlier one if there is one."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no mistake."""
        ...

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values with `start <= key < end` in the order of their bytes.

        It should cost no more than what is taken of it. Nothing is written while it is in use.
        """
        ...


class Storage(Protocol):
    """One store, for one namespace. Used by one thread at a time, though not always by the same."""

    def open(self) -> None:
        """Make the store ready: create what is missing.

        Raises:
            OSError or BrokerUnavailable: if it cannot be reached or written.
            BrokerRefused: if it is there but must not be used.
        """
        ...

    def close(self) -> None:
        """Release files and connections; what is stored stays. Calling twice is harmless."""
        ...

    def transaction(self, *, write: bool) -> AbstractContextManager[Transaction]:
        """Give a transaction for as long as the block runs.

        Two transactions with `write` never overlap, in whatever process they run: each sees all that
        the earlier ones wrote. One without `write` sees the store as it was between two of them.
        When the block ends, everything that it wrote is durable, at once and as a whole; if it
        raises, or the process dies before, nothing of it was ever there.

        Waiting for others ends after a while with BrokerUnavailable, never later.

        Raises:
            StorageFull: if there is no room; nothing was written.
            OSError or BrokerUnavailable: if the store cannot be reached or written. At the end of the
                block this leaves open whether it was written.
        """
        ...

    def erase(self) -> None:
        """Remove everything that is stored in this namespace; also if it was never opened."""
        ...
