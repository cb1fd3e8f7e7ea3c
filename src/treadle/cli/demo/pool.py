"""The handlers of a small worker pool: simulated work of some seconds, with random failures.

How long a job takes, and whether an attempt fails, is drawn from a generator that its id seeds: it
looks random, and a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Final

import anyio

from treadle import Context, Jobs, exponential

jobs = Jobs()

SECONDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"email": (2.0, 4.0), "notification": (1.0, 2.0), "report": (3.0, 5.0)}
)
"""The shortest and the longest time that a job of each type takes."""
FAILING: Final = 0.15
"""The share of attempts that fail."""

_RETRY = exponential(base=0.2, cap=1, jitter="equal", retries=3)


class WorkFailed(Exception):
    """Stands for whatever goes wrong in real work, and right a moment later."""


def seconds(type: str, job_id: str) -> float:
    """Return how long a job works."""
    return Random(f"{job_id} works").uniform(*SECONDS[type])


def fails(job_id: str, attempt: int) -> bool:
    """Tell whether an attempt fails at its end."""
    return Random(f"{job_id} attempt {attempt}").random() < FAILING


async def _work(ctx: Context, type: str) -> None:
    await anyio.sleep(seconds(type, ctx.job_id))
    if fails(ctx.job_id, ctx.attempt):
        raise WorkFailed(f"attempt {ctx.attempt} of this {type} went wrong (the next may not)")


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
