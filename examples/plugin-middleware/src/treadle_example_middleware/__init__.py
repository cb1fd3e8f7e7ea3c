"""Middleware from a plugin: a log line with each job for every attempt, with outcome and duration."""

from __future__ import annotations

from msgspec import Struct

from treadle import Attempt, Jobs, Middleware, Next, Outcome, hookimpl
from treadle.settings import Settings


class Limit(Struct, kw_only=True, forbid_unknown_fields=True):
    """The settings `[tool.treadle.plugin.timing]`."""

    slower_than_ms: int = 0


_limit = Limit()


def timing(slower_than_ms: int) -> Middleware:
    """Make the middleware that notes attempts which took longer than that."""

    async def measure(attempt: Attempt, call_next: Next) -> Outcome:
        tools = attempt.tools
        started = tools.clock.monotonic()
        outcome = await call_next(attempt)
        took_ms = (tools.clock.monotonic() - started) * 1_000
        if took_ms >= slower_than_ms:
            word = type(outcome).__name__.lower()
            tools.notes.log(attempt.lease, f"attempt {attempt.number} {word} in {took_ms:.1f} ms")
        return outcome

    return measure


@hookimpl
def treadle_configure(settings: Settings) -> None:
    """Read the plugin's own table of the settings."""
    global _limit  # noqa: PLW0603 - set once, when the process starts
    _limit = settings.section("timing", Limit)


@hookimpl
def treadle_register(jobs: Jobs) -> None:
    """Put the middleware around every attempt."""
    jobs.use(timing(_limit.slower_than_ms))
