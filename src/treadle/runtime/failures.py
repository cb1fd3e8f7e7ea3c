"""From what a handler raised to what is kept of it: an outcome with safe text, never an object.

User exceptions are hostile input: `str()` and `repr()` may raise, recurse or return megabytes,
classes may lie about their names, memory may be short. Nothing here raises. What asks a coroutine
to end (its cancellation, its `close()`) is never given to `failure`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import anyio

from treadle.domain.job import ErrorInfo
from treadle.domain.limits import ERROR_CHARS, clip
from treadle.domain.outcome import Cancelled, Failed, Outcome, Snoozed
from treadle.domain.state import Reason
from treadle.runtime.policies import qualified
from treadle.runtime.signals import Cancel, GiveUp, Retry, Signal, Snooze

_OWN_FOLDER = str(Path(__file__).parents[1]) + "/"
_MESSAGE_CHARS = 8 * 1024
_NAME_CHARS = 256
_FRAMES_AT_EACH_END = 40
_MOST_LINKS = 20
_MOST_MEMBERS = 15
_MOST_KINDS = 64


def failure(error: BaseException) -> Outcome:
    """Turn an exception of a handler, or one of its signals, into the outcome of the attempt.

    A group with a single exception inside counts as that exception, since task groups wrap what is
    raised in them.
    """
    try:
        return _outcome(error)
    except BaseException:  # noqa: BLE001 - a class that lies about itself, or no memory left
        return Failed(
            error=ErrorInfo(type=_type_name(error), message="<the exception could not be read>"),
            kinds=("builtins.Exception",),
        )


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an exception is the cancellation of its task, alone or as all there is in a group.

    A nursery of trio wraps it when several tasks were cancelled in it. Call it on an event loop.
    """
    return (
        isinstance(error, anyio.get_cancelled_exc_class()) or _without_cancellation(error) is None
    )


def is_closing(error: BaseException) -> bool:
    """Tell whether the coroutine that caught an exception is being closed, as a loop that is torn down does.

    Such a GeneratorExit begins in the very frame that catches it; one that comes from deeper was
    raised there, and is an exception like any other. Call it in that frame.
    """
    where = error.__traceback__
    return isinstance(error, GeneratorExit) and where is not None and where.tb_next is None


def _without_cancellation(error: BaseException) -> BaseException | None:
    """Return what else a group holds, None if nothing; what was cancelled did not fail."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, Exception):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    try:
        return group.split(anyio.get_cancelled_exc_class())[1]
    except anyio.NoEventLoopError:
        return group  # it comes from a thread, where nothing is cancelled


def _outcome(error: BaseException) -> Outcome:
    error = _without_cancellation(error) or error
    inner = _only_leaf(error)
    if not isinstance(inner, Signal):
        return Failed(error=describe(error), kinds=kinds(error))
    match inner:
        case Retry(due=due):
            return Failed(error=_cause(inner), kinds=kinds(inner), retry_after=due, again=True)
        case Snooze(due=due):
            return Snoozed(due=due)
        case GiveUp():
            return Failed(
                error=_cause(inner), kinds=kinds(inner), give_up=True, reason=Reason.GIVEN_UP
            )
        case Cancel(detail=detail):
            return Cancelled(detail=clip(readable(detail), _MESSAGE_CHARS))
        case _:
            return Failed(error=describe(inner), kinds=kinds(inner))


def _cause(signal: Retry | GiveUp) -> ErrorInfo:
    """Describe what made the handler raise a signal, or the signal itself."""
    behind = signal.__cause__ or (None if signal.__suppress_context__ else signal.__context__)
    if behind is None:
        return describe(signal)
    told = describe(behind)
    said = _message(signal)
    return ErrorInfo(
        type=told.type,
        message=f"{said} ({told.message})" if said else told.message,
        traceback=told.traceback,
    )


def _only_leaf(error: BaseException) -> BaseException:
    for _ in range(_MOST_LINKS):
        inside = _inside(error)
        if len(inside) != 1:
            break
        error = inside[0]
    return error


def _inside(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def kinds(error: BaseException) -> tuple[str, ...]:
    """Name the exception's class and its bases, most derived first; also those of a group's only member."""
    names: list[str] = []
    leaf = _only_leaf(error)
    for one in (error,) if leaf is error else (error, leaf):
        names += [_qualified(kind) for kind in type(one).__mro__ if kind is not object]
    return tuple(dict.fromkeys(names))[:_MOST_KINDS]


def _qualified(kind: type) -> str:
    return clip(readable(qualified(kind)), _NAME_CHARS)


def _type_name(error: BaseException) -> str:
    try:
        name = _qualified(type(error))
        # What comes from Treadle is known by its own name, wherever it is defined.
        return (
            name.rpartition(".")[2]
            if name.startswith("treadle.")
            else name.removeprefix("builtins.")
        )
    except BaseException:  # noqa: BLE001 - the class itself is hostile
        return "Exception"


def describe(error: BaseException) -> ErrorInfo:
    """Return type, message and traceback of an exception as text that any store can keep."""
    members = [f"{_type_name(one)}: {_message(one)}" for one in _inside(error)[:_MOST_MEMBERS]]
    message = clip("; ".join([_message(error), *members]), _MESSAGE_CHARS)
    return ErrorInfo(type=_type_name(error), message=message, traceback=_traceback(error))


def _message(error: BaseException) -> str:
    try:
        return clip(readable(str(error)), _MESSAGE_CHARS)
    except BaseException as raised:  # noqa: BLE001 - user code: it may raise whatever it likes
        return f"<str() raised {_type_name(raised)}>"


def readable(text: str) -> str:
    """Return text that encodes as UTF-8: lone surrogates become escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return str.__str__(text)


def _traceback(error: BaseException) -> str:
    try:
        told = traceback.TracebackException(
            type(error), error, error.__traceback__, lookup_lines=False, compact=True
        )
        for part in _parts(told):
            part.stack = _trimmed(part.stack)
        return clip(readable("".join(told.format())), ERROR_CHARS)
    except BaseException as raised:  # noqa: BLE001 - no memory, a hostile class, a hostile loader
        return f"<the traceback could not be read: {_type_name(raised)}>"


def _parts(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield an exception, its causes and the members of its groups."""
    waiting = [told]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += [link for link in (part.__cause__, part.__context__) if link is not None]
        waiting += part.exceptions or ()


def _trimmed(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Drop the frames of Treadle, and the middle of a stack that is very deep."""
    frames = [frame for frame in stack if not frame.filename.startswith(_OWN_FOLDER)]
    if len(frames) > 2 * _FRAMES_AT_EACH_END:
        left_out = len(frames) - 2 * _FRAMES_AT_EACH_END
        gap = traceback.FrameSummary("<...>", 0, f"<{left_out} frames left out>", line="")
        frames = [*frames[:_FRAMES_AT_EACH_END], gap, *frames[-_FRAMES_AT_EACH_END:]]
    return traceback.StackSummary.from_list(frames)
