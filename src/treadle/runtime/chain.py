"""Middleware, composed once at start-up into one async function."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from treadle.domain.outcome import Outcome
from treadle.runtime.attempt import Attempt, Middleware, Next


def compose(middleware: Sequence[Middleware], innermost: Next) -> Next:
    """Wrap `innermost` so that the first middleware is the outermost; costs one call a layer."""
    chain = innermost
    for layer in reversed(middleware):
        chain = _wrap(layer, chain)
    return chain


def _wrap(layer: Middleware, call_next: Next) -> Next:
    # Not async itself: it hands on the layer's own awaitable, which saves a coroutine per layer.
    def run(attempt: Attempt) -> Awaitable[Outcome]:
        return layer(attempt, call_next)

    return run
