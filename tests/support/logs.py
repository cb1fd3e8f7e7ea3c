"""Waiting for what is logged: the only sign that some duties of a worker give."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio

from treadle.broker.loop import LoopHandle


class Told(logging.Handler):
    """Keeps the records of one event, and sets `event` at the first."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.event = anyio.Event()
        self.records: list[logging.LogRecord] = []
        self._message = message
        self._loop = LoopHandle()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; the loop of the test is woken from any thread."""
        if record.getMessage() == self._message:
            self.records.append(record)
            self._loop.post(self.event.set)

    async def wait(self, timeout: float = 300) -> dict[str, Any]:
        """Wait for the first, and return its fields."""
        with anyio.fail_after(timeout):
            await self.event.wait()
        return vars(self.records[0])


@contextmanager
def told(logger: str, message: str) -> Generator[Told]:
    """Listen to a logger for as long as the block lasts; call it on the loop of the test."""
    listener, source = Told(message), logging.getLogger(logger)
    source.addHandler(listener)
    try:
        yield listener
    finally:
        source.removeHandler(listener)
