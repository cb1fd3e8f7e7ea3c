"""Middleware, composed once at start-up into one async function."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final, get_args

from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed, Outcome, Rejected, Succeeded
from treadle.runtime.attempt import Attempt, Middleware, Next
from treadle.runtime.failures import readable

_KINDS: Final = get_args(Outcome)
_SHOWN_CHARS = 80


def compose(middleware: Sequence[Middleware], innermost: Next) -> Next:
    """Wrap `innermost` so that the first middleware is the outermost; costs one call a layer.

    What comes out is an outcome, whatever the layers return.
    """
    chain = innermost
    for layer in reversed(middleware):
        chain = _wrap(layer, chain)
    return _checked(chain, middleware) if middleware else chain


def _wrap(layer: Middleware, call_next: Next) -> Next:
    # Not async itself: it hands on the layer's own awaitable, which saves a coroutine per layer.
    def run(attempt: Attempt) -> Awaitable[Outcome]:
        return layer(attempt, call_next)

    return run


def _checked(chain: Next, middleware: Sequence[Middleware]) -> Next:
    async def run(attempt: Attempt) -> Outcome:
        outcome = await chain(attempt)
        return outcome if _is_sound(outcome) else _no_outcome(outcome, middleware)

    return run


def _is_sound(value: Any) -> bool:
    """Tell whether a middleware returned what can be settled."""
    if isinstance(value, Succeeded):
        result: Any = value.result
        return result is None or isinstance(result, bytes)
    if isinstance(value, Failed | Rejected):
        error: Any = value.error
        return isinstance(error, ErrorInfo)
    return isinstance(value, _KINDS)


def _no_outcome(value: Any, middleware: Sequence[Middleware]) -> Outcome:
    names = ", ".join(getattr(each, "__qualname__", type(each).__qualname__) for each in middleware)
    try:
        shown = readable(repr(value))[:_SHOWN_CHARS]
    except Exception:  # noqa: BLE001 - it is an object of the user
        shown = type(value).__qualname__
    message = (
        f"a middleware returned {shown}, which is no outcome: it returns what `await call_next(attempt)` "
        f"returned, or one of its own. There are: {names}"
    )
    return Failed(error=ErrorInfo(type="TypeError", message=message))
