"""How long to wait before the next attempt: values that serialise with the job.

Four shapes of delay and four kinds of jitter. `delay_ms` is pure: chance comes from `rng`.
The jitter kinds are those of Marc Brooker, "Exponential Backoff And Jitter" (2015); they replace
the computed delay, they are not added to it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Protocol, assert_never

from msgspec import Meta, Struct


class Rng(Protocol):
    """The only source of chance that the domain accepts; `random.Random` fits."""

    def random(self) -> float:
        """Return a float in [0.0, 1.0)."""
        ...


class Jitter(StrEnum):
    """How chance spreads a delay `d`, so that jobs which failed together do not return together."""

    NONE = "none"
    """Exactly `d`."""
    FULL = "full"
    """Uniform in [0, d]."""
    EQUAL = "equal"
    """Uniform in [d/2, d]."""
    DECORRELATED = "decorrelated"
    """Uniform in [base, 3 x the delay before], capped; the head keeps the delay before."""


_Ms = Annotated[int, Meta(ge=0, le=2**52)]


class Fixed(Struct, frozen=True, kw_only=True, tag="fixed", omit_defaults=True):
    """Wait the same time after every failure."""

    delay_ms: _Ms
    jitter: Jitter = Jitter.NONE


class Linear(Struct, frozen=True, kw_only=True, tag="linear", omit_defaults=True):
    """Wait `base * (n + 1)`, at most `cap`, with n = failures before this one."""

    base_ms: _Ms
    cap_ms: _Ms = 3_600_000
    jitter: Jitter = Jitter.NONE


class Exponential(Struct, frozen=True, kw_only=True, tag="exponential", omit_defaults=True):
    """Wait `min(base * 2**n, cap)`, with n = failures before this one (0 at the first)."""

    base_ms: _Ms = 1_000
    cap_ms: _Ms = 3_600_000
    jitter: Jitter = Jitter.EQUAL


class Delays(Struct, frozen=True, kw_only=True, tag="list", omit_defaults=True):
    """Wait the listed times in order; the last one repeats."""

    delays_ms: Annotated[tuple[_Ms, ...], Meta(min_length=1)]
    jitter: Jitter = Jitter.NONE


RetryPolicy = Fixed | Linear | Exponential | Delays

_MOST_DOUBLINGS = 62


def _plain_ms(policy: RetryPolicy, failures: int) -> int:
    match policy:
        case Fixed():
            return policy.delay_ms
        case Linear():
            return min(policy.base_ms * (failures + 1), policy.cap_ms)
        case Exponential():
            return min(policy.base_ms << min(failures, _MOST_DOUBLINGS), policy.cap_ms)
        case Delays():
            return policy.delays_ms[min(failures, len(policy.delays_ms) - 1)]
        case _:
            assert_never(policy)


def _base_ms(policy: RetryPolicy) -> int:
    match policy:
        case Fixed():
            return policy.delay_ms
        case Linear() | Exponential():
            return policy.base_ms
        case Delays():
            return policy.delays_ms[0]
        case _:
            assert_never(policy)


def cap_ms(policy: RetryPolicy) -> int:
    """Return the longest delay that `policy` can give."""
    match policy:
        case Fixed():
            return policy.delay_ms
        case Linear() | Exponential():
            return policy.cap_ms
        case Delays():
            return max(policy.delays_ms)
        case _:
            assert_never(policy)


def delay_ms(policy: RetryPolicy, failures: int, previous_ms: int, rng: Rng) -> int:
    """Compute the delay before the next attempt, in ms, never above the policy's cap.

    `failures` counts the failures before this one; `previous_ms` is the delay chosen last
    (0 at the first failure), which only decorrelated jitter looks at.
    """
    plain = _plain_ms(policy, failures)
    match policy.jitter:
        case Jitter.NONE:
            return plain
        case Jitter.FULL:
            return round(plain * rng.random())
        case Jitter.EQUAL:
            return round(plain / 2 + plain / 2 * rng.random())
        case Jitter.DECORRELATED:
            low = _base_ms(policy)
            high = max(low, (previous_ms or low) * 3)
            return min(round(low + (high - low) * rng.random()), cap_ms(policy))
        case _:
            assert_never(policy.jitter)
