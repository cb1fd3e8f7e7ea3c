"""What the server and the network say, told in our words: no driver exception leaves the broker."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable, StorageFull


class NotReached(BrokerUnavailable):
    """The server was not reached: the call had no effect."""


class NotNow(NotReached):
    """This server does not serve the namespace for the moment, or no more: the call had no effect."""


class ReplyLost(BrokerUnavailable):
    """The call was sent, and no reply came: it may have had its effect."""


_FULL: Final = ("OOM ", "MISCONF ")
_AWAY: Final = ("LOADING ", "BUSY ", "MASTERDOWN ", "NOREPLICAS ")
_DOWN: Final = "while the cluster is down"
"""Said of a script's commands, where a cluster that is down may be read."""
_PASSWORD: Final = ("NOAUTH", "WRONGPASS", "invalid username-password")
_WHERE: Final = " script: "
"""What stands behind it in a message is a place in a script, which says nothing to a user."""
_OUR_FAULT: Final = "Error compiling script"
_SET_FULL: Final = (
    "the server has no room left ({said}). Running jobs still finish; raise maxmemory, free disk"
    " space, or purge"
)


def unreachable(error: Exception, shown: str, seconds: float) -> NotReached | BrokerRefused:
    """Say why no connection could be made."""
    if isinstance(error, TimeoutError):
        more = ". Does it speak TLS?" if shown.startswith("rediss") else ""
        return NotReached(f"{shown} cannot be reached: no answer within {seconds:g} s{more}")
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return BrokerRefused(f"{shown}: the server refuses user or password ({error})")
    if isinstance(error, NoPermissionError):
        return _forbidden(str(error), shown)
    if isinstance(error, ResponseError) and not isinstance(error, BusyLoadingError):
        said = f"{shown}: the server refuses the connection ({error})"
        more = ": take the number of the database out of the URL" if "SELECT" in said else ""
        return BrokerRefused(said + more)
    return NotReached(f"{shown} cannot be reached: {_said(error)}")


def lost(error: Exception, shown: str, seconds: float) -> ReplyLost:
    """Say that a call was sent and not answered."""
    if isinstance(error, TimeoutError):
        return ReplyLost(f"{shown} did not answer within {seconds:g} s")
    return ReplyLost(f"{shown}: the connection broke before the reply came: {_said(error)}")


def refused(error: RedisError, shown: str, doing: str) -> BrokerError:
    """Say what an answer of the server means that is an error; such a call had no effect."""
    said, _, _ = str(error).partition(_WHERE)
    if said.startswith(_FULL) or "maxmemory" in said:
        return StorageFull(f"{shown}: {_SET_FULL.format(said=said)}")
    if isinstance(error, MovedError | AskError | TryAgainError | ClusterDownError) or _DOWN in said:
        return _not_now(error, shown)
    if said.startswith("UNBLOCKED "):
        return NotNow(f"{shown} is no primary any more: {said}")
    if said.startswith(_AWAY) or isinstance(error, BusyLoadingError):
        return NotReached(f"{shown} does not serve now: {said}")
    if isinstance(error, ReadOnlyError) or said.startswith("READONLY"):
        return NotReached(f"{shown} is a read-only replica now: use the address of the primary")
    if isinstance(error, NoPermissionError) or "NOPERM" in said:
        return _forbidden(said, shown)
    if isinstance(error, AuthenticationError) or said.startswith(_PASSWORD):
        return BrokerRefused(f"{shown}: the server refuses user or password ({said})")
    if "WRONGTYPE" in said:
        return BrokerRefused(
            f"{shown}: {doing} met a key of this namespace that holds something that is not ours, and"
            " changed nothing. Use another namespace, or remove the foreign keys"
        )
    if "user_script:" in said and _OUR_FAULT not in said:
        return BrokerRefused(
            f"{shown}: {doing} met bytes in this namespace that Treadle did not write, and changed"
            " nothing. Remove what is foreign, or use another namespace"
        )
    return BrokerRefused(f"{shown}: the server answered {said}")


def _not_now(error: RedisError, shown: str) -> NotNow:
    if isinstance(error, ClusterDownError) or _DOWN in str(error):
        return NotNow(
            f"{shown}: the cluster is down ({error}): a primary is missing and nobody took its place."
            " Look at `redis-cli cluster info`, and start its nodes"
        )
    if isinstance(error, MovedError):
        return NotNow(f"{shown}: the namespace is on another node of the cluster now ({error})")
    return NotNow(
        f"{shown}: the slot of this namespace is being moved to another node, and nothing is read or"
        " written till it is there. If nobody moves it any more: `redis-cli --cluster fix`"
    )


def _forbidden(said: str, shown: str) -> BrokerRefused:
    return BrokerRefused(
        f"{shown}: this user may not do what a broker needs ({said}). It needs the commands of"
        " +@all -@dangerous +info and the keys of its namespace: see docs/how-to/redis.md"
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
