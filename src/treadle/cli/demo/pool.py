"""The handlers of a small worker pool: simulated work of some seconds, with random failures.

How long a job takes, and whether an attempt fails, is drawn from a generator that its id seeds: it
looks random, and a run can be repeated. The table `[tool.treadle.plugin.demo]` makes it quicker, or worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Final

import anyio
from msgspec import Struct

from treadle import Context, Jobs, exponential
from treadle.settings import Settings

jobs = Jobs()

SECONDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"email": (2.0, 4.0), "notification": (1.0, 2.0), "report": (3.0, 5.0)}
)
"""The shortest and the longest time that a job of each type takes."""
FAILING: Final = 0.15
"""The share of attempts that fail."""


class Demo(Struct, frozen=True, kw_only=True):
    """How simulated work goes: `[tool.treadle.plugin.demo]`."""

    pace: float = 1.0
    """How long it takes, as a share of the time that is told here: 0.01 is a hundredth."""
    failing: float | None = None
    """The share of attempts that fail, of all kinds of work; without it, each kind has its own."""


_RETRY = exponential(base=0.2, cap=1, jitter="equal", retries=3)


class WorkFailed(Exception):
    """Stands for whatever goes wrong in real work, and right a moment later."""


def seconds(type: str, job_id: str) -> float:
    """Return how long a job works."""
    return Random(f"{job_id} works").uniform(*SECONDS[type])


def fails(job_id: str, attempt: int, share: float = FAILING) -> bool:
    """Tell whether an attempt fails at its end."""
    return Random(f"{job_id} attempt {attempt}").random() < share


async def simulate(
    ctx: Context, settings: Settings, lasting: float, failing: float = FAILING
) -> None:
    """Work for so many seconds; a share of the attempts fails. The settings may say otherwise.

    Raises:
        WorkFailed: at the end of an attempt that fails.
    """
    demo = settings.section("demo", Demo)
    await anyio.sleep(lasting * demo.pace)
    share = failing if demo.failing is None else demo.failing
    if fails(ctx.job_id, ctx.attempt, share):
        raise WorkFailed(f"attempt {ctx.attempt} of this {ctx.type} went wrong (the next may not)")


async def _work(ctx: Context, type: str) -> None:
    await simulate(ctx, jobs.settings, seconds(type, ctx.job_id))


@jobs.handler("email", retry=_RETRY)
async def email(ctx: Context, payload: str) -> str:
    """Send an email: 2 to 4 seconds."""
    await _work(ctx, "email")
    return f"sent: {payload}"


@jobs.handler("notification", retry=_RETRY)
async def notification(ctx: Context, payload: str) -> str:
    """Notify somebody: 1 to 2 seconds."""
    await _work(ctx, "notification")
    return f"told: {payload}"


@jobs.handler("report", retry=_RETRY)
async def report(ctx: Context, payload: str) -> str:
    """Write a report: 3 to 5 seconds."""
    await _work(ctx, "report")
    return f"written: {payload}"
