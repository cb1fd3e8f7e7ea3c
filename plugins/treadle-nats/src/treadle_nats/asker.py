"""How a broker asks its engine: from whatever loop it runs on, and for as long as it is connected."""

from __future__ import annotations

import os
from typing import TypeVar

import anyio
import anyio.to_thread

from treadle.broker.loop import LoopHandle
from treadle.broker.sleeper import Sleeper
from treadle.errors import BrokerUnavailable
from treadle_nats import shared
from treadle_nats.address import Address
from treadle_nats.engine import Engine
from treadle_nats.questions import Question

T = TypeVar("T")
_MOST_SECONDS_TO_END = 10.0


class Asker:
    """The side of the broker: it belongs to one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._engine: Engine | None = None
        self._loop: LoopHandle | None = None
        self._sleeper = Sleeper()
        self._pid = os.getpid()

    def engine(self) -> Engine:
        """Return the engine; it is started if it has to be.

        Raises:
            BrokerUnavailable: in a process that was forked from the one that made the broker.
        """
        if self._pid != os.getpid():
            raise BrokerUnavailable(
                "this broker was opened before the process forked, and its thread stayed behind:"
                " make a new one in the child (broker.another())"
            )
        if self._engine is None:
            self._engine = shared.take(self._address)
            self._loop = LoopHandle()
            self._sleeper = Sleeper()
        return self._engine

    async def ask(self, question: Question[T]) -> T:
        """Ask the engine something and wait for its answer."""
        engine = self.engine()
        sleep, question.wake = self._sleeper.make()
        question.home = self._loop
        engine.put(question)
        try:
            await sleep
        except BaseException:
            question.dropped = True
            raise
        return question.result()

    async def end(self) -> None:
        """Let go of the engine; the last one who does ends it."""
        if self._engine is None or self._pid != os.getpid():
            return
        self._engine = None
        last = shared.give_back(self._address)
        if last is not None:
            last.stop()
            with anyio.move_on_after(_MOST_SECONDS_TO_END, shield=True):
                await anyio.to_thread.run_sync(last.join)
