"""What a seed stands for: the fleet, its jobs, and how bad things get.

Swarm testing: each seed leaves out some kinds of trouble altogether, so that rare combinations of the
others come up, and bugs that one kind of trouble would hide are seen in a run without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from treadle.domain.job import DEFAULT_POLICY, After, Job, Policy, Priority, Ref
from treadle.domain.retry import Exponential, Fixed, Jitter, RetryPolicy
from treadle.domain.unique import OnConflict, Unique
from treadle.testing.sim.network import Weather

LEASE_MS = 3_000
QUEUES = ("default", "slow")
KEY = "tenant:1"


class Act(Struct, frozen=True):
    """What a handler does in one attempt: sleeps, then ends in some way."""

    ends: str = "ok"
    sleep_s: float = 0.0
    wish_s: float = 0.0
    """After how long a snooze or a wished retry shall come back."""


class Part(Struct, frozen=True, kw_only=True):
    """One job of a run: when it is enqueued, and what its handler does, attempt by attempt."""

    job: Job
    at_s: float
    acts: tuple[Act, ...]
    deaths: int = 0
    """So many first deliveries kill the whole process."""


class Plan(Struct, frozen=True, kw_only=True):
    """One run, as its seed says it."""

    seed: int
    workers: int
    slots: int
    lasts_s: float
    """How long things go wrong."""
    weather: Weather
    parts: tuple[Part, ...]
    kills: int = 0
    stops: int = 0
    jumps: int = 0
    crashes: int = 0
    drains: int = 0
    cancels: int = 0
    retries: int = 0
    pauses: int = 0
    everysec: bool = False
    slow_sync: bool = False


def plan(seed: int, jobs: int = 20) -> Plan:
    """Make the plan of a seed."""
    rng = Random(seed)

    def some(chance: float, most: int) -> int:
        return rng.randint(1, most) if rng.random() < chance else 0

    lasts_s = rng.uniform(4, 12)
    crashes = some(0.35, 2)
    return Plan(
        seed=seed,
        workers=rng.randint(1, 3),
        slots=rng.choice((1, 2, 3, 6)),
        lasts_s=lasts_s,
        weather=_weather(rng),
        parts=tuple(_part(rng, n, lasts_s) for n in range(jobs)),
        kills=some(0.6, 5),
        stops=some(0.4, 2),
        jumps=some(0.4, 3),
        crashes=crashes,
        drains=some(0.4, 3),
        cancels=some(0.5, 4),
        retries=some(0.3, 3),
        pauses=some(0.2, 1),
        everysec=bool(crashes) and rng.random() < 0.25,
        slow_sync=rng.random() < 0.3,
    )


def _weather(rng: Random) -> Weather:
    def some(chance: float, most: float) -> float:
        return rng.random() * most if rng.random() < chance else 0.0

    return Weather(
        lost_request=some(0.5, 0.1),
        lost_reply=some(0.5, 0.1),
        late=some(0.5, 0.06),
        late_s=LEASE_MS / 1000 * rng.choice((0.05, 0.3, 1.5, 1.5, 3, 5)),
        twice=some(0.5, 0.1),
        patience_s=rng.uniform(1, 5),
    )


def _part(rng: Random, n: int, lasts_s: float) -> Part:
    kind = rng.random()
    policy = DEFAULT_POLICY
    deaths = 0
    most = rng.randint(1, 4)
    if kind < 0.35:
        acts: Sequence[Act] = [Act("ok", rng.random() * 0.05)]
    elif kind < 0.5:
        acts = [Act("ok", rng.uniform(0.2, 2))]
    elif kind < 0.55:
        acts = [Act("ok", LEASE_MS / 1000 * rng.uniform(1.1, 1.6))]
    elif kind < 0.7:
        acts = [Act("fail", rng.random()) for _ in range(rng.randint(1, most))] + [Act("ok", 0.1)]
    elif kind < 0.8:
        wish = rng.uniform(0.1, 2)
        acts = [Act(rng.choice(("snooze", "retry")), 0.1, wish), Act("ok", rng.random())]
    elif kind < 0.85:
        acts = [Act(rng.choice(("give up", "cancel")), 0.1)]
    elif kind < 0.9:
        acts = [Act("ok", 60.0)] * most  # into its time limit, each time
        policy = Policy(max_attempts=most, retry=Fixed(delay_ms=500), timeout_ms=700)
    elif kind < 0.95:
        acts = [Act("ok", rng.random())]
        deaths = rng.randint(1, 3)
    else:
        acts = [Act("step", rng.random()), Act("ok", 0.1)]
    if not policy.timeout_ms:
        policy = Policy(
            max_attempts=most + (kind < 0.7 and rng.random() < 0.7),
            retry=_retry(rng),
            retention_ms=rng.choice((None, 3_600_000, 4_000)),
        )
    job = Job(
        id=f"j{n}",
        type=rng.choice(("sim.async", "sim.context", "sim.sync")) if deaths == 0 else "sim.async",
        payload=b'{"n":%d}' % n,
        queue=rng.choice(("default", "default", "slow")),
        priority=rng.choice(tuple(Priority)),
        policy=policy,
        due=After(rng.choice((0, 0, 0, rng.randint(1, 4_000)))),
        key=KEY if rng.random() < 0.15 else "",
        unique=(Unique(key="u", on_conflict=OnConflict.EXISTING) if rng.random() < 0.1 else None),
        after=(Ref("default", f"j{n - 1}"),) if n and rng.random() < 0.08 else (),
        run_anyway=rng.random() < 0.5,
    )
    return Part(job=job, at_s=rng.random() * lasts_s * 0.8, acts=tuple(acts), deaths=deaths)


def _retry(rng: Random) -> RetryPolicy:
    if rng.random() < 0.5:
        return Fixed(delay_ms=rng.randint(0, 1_500))
    jitter = rng.choice((Jitter.NONE, Jitter.FULL, Jitter.EQUAL))
    return Exponential(base_ms=rng.randint(50, 600), cap_ms=1_500, jitter=jitter)
