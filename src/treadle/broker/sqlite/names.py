"""Queues and sessions are small numbers in the file and names outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.broker.sqlite.statements import load

_SQL = load("names")
_REMEMBERED = 10_000

Rows = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


class Names:
    """The numbers of queues and sessions, as read from the file; neither is ever given twice.

    What a transaction added must be forgotten if it is rolled back: then the number may come to
    mean another name.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._queues: dict[str, int] = {}
        self._queue_names: dict[int, str] = {}
        self._sessions: dict[int, str] = {}
        self._session_numbers: dict[str, int] = {}

    def forget(self) -> None:
        """Read everything anew."""
        self._queues.clear()
        self._queue_names.clear()
        self._sessions.clear()
        self._session_numbers.clear()

    def known_queue(self, name: str) -> int | None:
        """Return the number of a queue, if it has one."""
        number = self._queues.get(name)
        if number is None:
            rows = self._rows(_SQL["queue_number"], (name,))
            if rows:
                number = self._keep_queue(name, rows[0][0])
        return number

    def queue(self, name: str) -> int:
        """Return the number of a queue, which is known from now on (in a write transaction)."""
        number = self.known_queue(name)
        if number is None:
            number = self._keep_queue(name, self._rows(_SQL["add_queue"], (name,))[0][0])
        return number

    def queue_name(self, number: int) -> str:
        """Return the name of a queue; a number that means nothing is shown as such."""
        name = self._queue_names.get(number)
        if name is None:
            rows = self._rows(_SQL["queue_name"], (number,))
            if not rows:
                return f"?{number}"
            name = str(rows[0][0])
            self._keep_queue(name, number)
        return name

    def session(self, number: int | None) -> str:
        """Return how a session is called outside: its worker's name and its number."""
        if number is None:
            return ""
        known = self._sessions.get(number)
        if known is None:
            rows = self._rows(_SQL["session_name"], (number,))
            if not rows:
                return f"#{number}"
            known = f"{rows[0][0]}#{number}"
            if len(self._sessions) >= _REMEMBERED:
                self._sessions.clear()
            self._sessions[number] = known
        return known

    def session_number(self, session: str) -> int:
        """Return the number of a session; -1 if no session was ever called so."""
        number = self._session_numbers.get(session)
        if number is None:
            digits = session.rpartition("#")[2]
            number = int(digits) if digits.isascii() and digits.isdecimal() else -1
            if number < 0 or len(digits) > 18 or self.session(number) != session:
                return -1
            if len(self._session_numbers) >= _REMEMBERED:
                self._session_numbers.clear()
            self._session_numbers[session] = number
        return number

    def _keep_queue(self, name: str, number: int) -> int:
        if len(self._queues) >= _REMEMBERED:
            self._queues.clear()
            self._queue_names.clear()
        self._queues[name] = number
        self._queue_names[number] = name
        return number
