"""What the server and the network say, told in our words: no driver exception leaves the broker."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable, StorageFull


class NotReached(BrokerUnavailable):
    """The server was not reached: the call had no effect."""


class ReplyLost(BrokerUnavailable):
    """The call was sent, and no reply came: it may have had its effect."""


_FULL: Final = ("OOM ", "MISCONF ")
_AWAY: Final = ("LOADING ", "BUSY ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "NOREPLICAS ")
_AWAY_ERRORS: Final = (BusyLoadingError, ClusterDownError, TryAgainError)
_PASSWORD: Final = ("NOAUTH", "WRONGPASS", "invalid username-password")
_SET_FULL: Final = (
    "the server has no room left ({said}). Running jobs still finish; raise maxmemory, free disk"
    " space, or purge"
)


def unreachable(error: Exception, shown: str) -> NotReached | BrokerRefused:
    """Say why no connection could be made."""
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return BrokerRefused(f"{shown}: the server refuses user or password ({error})")
    if isinstance(error, NoPermissionError):
        return _forbidden(error, shown)
    if isinstance(error, ResponseError) and not isinstance(error, BusyLoadingError):
        return BrokerRefused(f"{shown}: the server refuses the connection ({error})")
    return NotReached(f"{shown} cannot be reached: {_said(error)}")


def lost(error: Exception, shown: str, seconds: float) -> ReplyLost:
    """Say that a call was sent and not answered."""
    if isinstance(error, TimeoutError):
        return ReplyLost(f"{shown} did not answer within {seconds:g} s")
    return ReplyLost(f"{shown}: the connection broke before the reply came: {_said(error)}")


def refused(error: RedisError, shown: str) -> BrokerError:
    """Say what an answer of the server means that is an error; such a call had no effect."""
    said = str(error)
    if said.startswith(_FULL) or "maxmemory" in said:
        return StorageFull(f"{shown}: {_SET_FULL.format(said=said)}")
    if said.startswith(_AWAY) or isinstance(error, _AWAY_ERRORS):
        return NotReached(f"{shown} does not serve now: {said}")
    if isinstance(error, ReadOnlyError) or said.startswith("READONLY"):
        return NotReached(f"{shown} is a read-only replica now: use the address of the primary")
    if isinstance(error, NoPermissionError) or "NOPERM" in said:
        return _forbidden(error, shown)
    if isinstance(error, AuthenticationError) or said.startswith(_PASSWORD):
        return BrokerRefused(f"{shown}: the server refuses user or password ({said})")
    if "WRONGTYPE" in said:
        return BrokerRefused(
            f"{shown}: a key of this namespace holds something that is not ours ({said})."
            " Use another namespace, or remove the foreign keys"
        )
    return BrokerRefused(f"{shown}: the server answered {said}")


def _forbidden(error: Exception, shown: str) -> BrokerRefused:
    return BrokerRefused(
        f"{shown}: this user may not do what a broker needs ({error}). It needs the commands of"
        " +@all -@dangerous +info and the keys of its namespace: see docs/how-to/redis.md"
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
