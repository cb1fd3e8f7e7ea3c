"""Retry policies as users write them, and the values of the domain that travel with a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, structs

from treadle.domain.job import OnCrash as OnCrashKind
from treadle.domain.job import Policy
from treadle.domain.retry import Delays, Exponential, Fixed, Jitter, Linear, RetryPolicy
from treadle.errors import ConfigurationError
from treadle.runtime.duration import Duration, to_ms

JitterName = Literal["none", "full", "equal", "decorrelated"]
OnCrash = Literal["retry", "dead"]
ErrorKinds = type[BaseException] | str | Sequence[type[BaseException] | str]
"""One exception class or several; a class that cannot be imported here by its qualified name."""

_MOST_RETRIES = 10_000


class Retries(Struct, frozen=True, kw_only=True):
    """How often and when a failed job is tried again; made by `exponential`, `fixed` and the others."""

    retries: int
    policy: RetryPolicy
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()


def exponential(
    *,
    base: Duration = 1,
    cap: Duration = 3600,
    jitter: JitterName = "equal",
    retries: int = 3,
    retry_on: ErrorKinds = (),
    give_up_on: ErrorKinds = (),
) -> Retries:
    """Wait `base`, twice that, four times that ... up to `cap`."""
    policy = Exponential(
        base_ms=to_ms(base, "base"), cap_ms=to_ms(cap, "cap"), jitter=_jitter(jitter)
    )
    return _retries(retries, policy, retry_on, give_up_on)


def linear(
    base: Duration = 1,
    *,
    cap: Duration = 3600,
    jitter: JitterName = "none",
    retries: int = 3,
    retry_on: ErrorKinds = (),
    give_up_on: ErrorKinds = (),
) -> Retries:
    """Wait `base`, twice, three times `base` ... up to `cap`."""
    policy = Linear(base_ms=to_ms(base, "base"), cap_ms=to_ms(cap, "cap"), jitter=_jitter(jitter))
    return _retries(retries, policy, retry_on, give_up_on)


def fixed(
    delay: Duration,
    *,
    jitter: JitterName = "none",
    retries: int = 3,
    retry_on: ErrorKinds = (),
    give_up_on: ErrorKinds = (),
) -> Retries:
    """Wait the same time after every failure."""
    policy = Fixed(delay_ms=to_ms(delay, "delay"), jitter=_jitter(jitter))
    return _retries(retries, policy, retry_on, give_up_on)


def delays(
    times: Sequence[Duration],
    *,
    jitter: JitterName = "none",
    retries: int | None = None,
    retry_on: ErrorKinds = (),
    give_up_on: ErrorKinds = (),
) -> Retries:
    """Wait the listed times in order, one retry for each unless `retries` says otherwise."""
    if not times:
        raise ConfigurationError("delays([]) is empty: give at least one delay, or retry=0")
    policy = Delays(
        delays_ms=tuple(to_ms(time, "each delay") for time in times), jitter=_jitter(jitter)
    )
    return _retries(len(times) if retries is None else retries, policy, retry_on, give_up_on)


def _jitter(name: str) -> Jitter:
    try:
        return Jitter(name)
    except ValueError:
        listed = ", ".join(kind.value for kind in Jitter)
        raise ConfigurationError(f"jitter {name!r} is not one of {listed}") from None


def _retries(
    retries: int, policy: RetryPolicy, retry_on: ErrorKinds, give_up_on: ErrorKinds
) -> Retries:
    return Retries(
        retries=_checked(retries),
        policy=policy,
        retry_on=_names(retry_on, "retry_on"),
        give_up_on=_names(give_up_on, "give_up_on"),
    )


def _checked(retries: int) -> int:
    if type(retries) is not int or not 0 <= retries <= _MOST_RETRIES:
        raise ConfigurationError(f"retries must be 0 to {_MOST_RETRIES}, got {retries!r}")
    return retries


def qualified(kind: type) -> str:
    """Name a class the way policies and failures compare it: `builtins.ValueError`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(kinds: ErrorKinds, what: str) -> tuple[str, ...]:
    listed = (kinds,) if isinstance(kinds, type | str) else tuple(kinds)
    return tuple(_name(kind, what) for kind in listed)


def _name(kind: type[BaseException] | str, what: str) -> str:
    if isinstance(kind, str):
        return kind if "." in kind else f"builtins.{kind}"
    if BaseException in getattr(kind, "__mro__", ()):
        return qualified(kind)
    raise ConfigurationError(f"{what} takes exception classes, got {kind!r}")


def amended(
    policy: Policy,
    *,
    retry: int | Retries | UnsetType = UNSET,
    timeout: Duration | UnsetType | None = UNSET,
    on_crash: OnCrash | UnsetType = UNSET,
    retention: Duration | UnsetType | None = UNSET,
    dead_retention: Duration | UnsetType | None = UNSET,
) -> Policy:
    """Return `policy` with what was given; what was left out stays as it is.

    Raises:
        ConfigurationError: naming the value that cannot be used.
    """
    if isinstance(retry, Retries):
        policy = structs.replace(
            policy,
            max_attempts=retry.retries + 1,
            retry=retry.policy,
            retry_on=retry.retry_on,
            give_up_on=retry.give_up_on,
        )
    elif not isinstance(retry, UnsetType):
        policy = structs.replace(policy, max_attempts=_checked(retry) + 1)
    if not isinstance(timeout, UnsetType):
        limit = 0 if timeout is None else to_ms(timeout, "timeout")
        policy = structs.replace(policy, timeout_ms=limit)
    if not isinstance(on_crash, UnsetType):
        policy = structs.replace(policy, on_crash=_on_crash(on_crash))
    if not isinstance(retention, UnsetType):
        kept = None if retention is None else to_ms(retention, "retention")
        policy = structs.replace(policy, retention_ms=kept)
    if not isinstance(dead_retention, UnsetType):
        kept = None if dead_retention is None else to_ms(dead_retention, "dead_retention")
        policy = structs.replace(policy, dead_retention_ms=kept)
    return policy


def _on_crash(name: str) -> OnCrashKind:
    try:
        return OnCrashKind(name)
    except ValueError:
        raise ConfigurationError(f"on_crash {name!r} is not 'retry' or 'dead'") from None
