"""What is read and cannot be understood: bytes in our namespace that Treadle did not write."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from treadle.errors import BrokerRefused
from treadle_redis.desk import Desk

P = ParamSpec("P")
T = TypeVar("T")
Read = Callable[Concatenate[Desk, P], Awaitable[T]]


def reads(what: str) -> Callable[[Read[P, T]], Read[P, T]]:
    """Let a function that reads `what` raise `BrokerRefused` if that is not what Treadle wrote."""

    def decorate(function: Read[P, T]) -> Read[P, T]:
        @wraps(function)
        async def understood(desk: Desk, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await function(desk, *args, **kwargs)
            except (ValueError, IndexError, struct.error) as error:
                raise BrokerRefused(
                    f"{desk.address.shown}: the {what} of namespace {desk.address.namespace!r} hold"
                    f" bytes that Treadle did not write ({error}). Remove them, or name another one."
                ) from error

        return understood

    return decorate
