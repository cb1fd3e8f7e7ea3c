"""The main function of a process that only schedules: signals, loop, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from random import Random

import anyio

from treadle.broker.base import Broker, Clock
from treadle.runtime.clock import BrokerClock
from treadle.runtime.declared import Declared
from treadle.runtime.scheduler import Scheduler
from treadle.runtime.stopping import SIGNALS

logger = logging.getLogger("treadle.scheduler")


async def schedule_until_told(
    broker_factory: Callable[[], Broker], declared: Mapping[str, Declared], *, clock: Clock
) -> None:
    """Fire ticks until SIGTERM or SIGINT; nothing is left to drain then.

    Raises:
        BrokerUnavailable: if the broker cannot be reached at the start. Later outages are waited out.
    """
    async with broker_factory() as broker, anyio.create_task_group() as tasks:
        scheduler = Scheduler(broker, declared=declared, clock=BrokerClock(clock), rng=Random())
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            tasks.start_soon(scheduler.run)
            logger.info("scheduler_started", extra={"schedules": len(declared)})
            async for _ in signals:
                break
        logger.info("scheduler_stopped")
        tasks.cancel_scope.cancel()
