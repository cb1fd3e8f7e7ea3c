"""The thread that reads: a connection of its own, so that a long listing delays no write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from treadle.broker.sqlite.connection import Connection, open_reader
from treadle.broker.sqlite.desk import Ask, Desk
from treadle.broker.sqlite.location import Location
from treadle.broker.sqlite.sameness import Sameness
from treadle.broker.sqlite.trouble import breaks_connection, translate

T = TypeVar("T")


class _Read(Ask[T]):
    __slots__ = ("work",)

    def __init__(self, work: Callable[[Connection], T]) -> None:
        super().__init__()
        self.work = work


class Reader(Desk):
    """Runs each question in a read transaction: all that it sees is of one moment."""

    def __init__(self, location: Location) -> None:
        super().__init__("treadle-sqlite-reader")
        self._location = location
        self._connection: Connection | None = None
        self._sameness = Sameness(location)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on the reading connection."""
        return await self.ask(_Read(work))

    def serve(self, asks: Sequence[Ask[Any]]) -> Callable[[], object] | None:
        with self.gate:
            for ask in asks:
                if isinstance(ask, _Read):
                    self._run(ask)
        return None

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self, ask: _Read[Any]) -> None:
        try:
            if self._connection is None:
                self._connection = open_reader(self._location)
                self._sameness.remember()
            self._sameness.check()
            self._connection.raw.execute("BEGIN")
            try:
                ask.answer(ask.work(self._connection))
            finally:
                if self._connection.raw.in_transaction:
                    self._connection.raw.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if breaks_connection(error):
                self.release()
            ask.fail(translate(error, self._location))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            ask.fail(error)
