"""Histories that break a law, each written by hand, and the laws that they break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tests.conformance.story import Story, running
from treadle.domain.state import Event

MINUTE = 60_000


class Bad(Struct, frozen=True, kw_only=True):
    """One bad history."""

    name: str
    laws: tuple[str, ...]
    terms: dict[str, Any]
    tell: Callable[[Story], None]


BAD: list[Bad] = []


def breaks(
    *laws: str, **terms: Any
) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
    """Register the history below with exactly the laws that it breaks."""

    def register(tell: Callable[[Story], None]) -> Callable[[Story], None]:
        BAD.append(Bad(name=tell.__name__, laws=laws, terms=terms, tell=tell))
        return tell

    return register


def run_once(story: Story, id: str = "a", event: Event = Event.SUCCEED, **sent: Any) -> None:
    """Store a job, claim it and settle it."""
    story.stored(id, **sent)
    story.claimed(running(id))
    story.wrote(id, 2, event)
