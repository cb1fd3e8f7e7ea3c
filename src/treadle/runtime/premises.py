"""What a worker gives to each of its shifts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

from treadle.broker.base import Broker, Clock
from treadle.runtime.attempt import Tools
from treadle.runtime.clock import BrokerClock
from treadle.runtime.drain import DrainOrder
from treadle.runtime.notebook import Notebook
from treadle.runtime.options import WorkerOptions
from treadle.runtime.registry import Registry
from treadle.runtime.report import WorkerReport


class Premises(Struct, frozen=True, kw_only=True):
    """Everything that a shift is given."""

    name: str
    session: str
    broker: Broker
    registry: Registry
    options: WorkerOptions
    report: WorkerReport
    clock: Clock
    broker_clock: BrokerClock
    notebook: Notebook
    tools: Tools
    rng: Random
    order: DrainOrder
    opened: Callable[[], None]
    """Called when claims begin."""
