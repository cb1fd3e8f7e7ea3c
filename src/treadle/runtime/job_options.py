"""What can be said about a job beside its arguments, and how a job is put together from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypedDict

from msgspec import UNSET, Struct, structs

from treadle.domain.job import DAY_MS, DEFAULT_POLICY, NOW, After, At, Job, Policy, Priority, Ref
from treadle.domain.limits import JOB_ID, NAME
from treadle.domain.unique import KEY_BYTES, OnConflict, Scope, Unique
from treadle.errors import ConfigurationError
from treadle.runtime.duration import Duration, Moment, to_due, to_instant, to_ms
from treadle.runtime.policies import OnCrash, Retries, amended

PriorityName = Literal["critical", "high", "medium", "low"]
UniqueFor = Literal["waiting", "final"] | timedelta
ConflictName = Literal["existing", "reject", "replace"]


class HasRef(Protocol):
    """A job that others can wait for: a handle, or a record."""

    @property
    def id(self) -> str:
        """Return its id."""
        ...

    @property
    def queue(self) -> str:
        """Return its queue."""
        ...


class HandlerOptions(TypedDict, total=False):
    """What a handler can say about all of its jobs, and a call about one; each may be left out.

    Durations are seconds or a timedelta, instants aware datetimes.
    """

    queue: str
    priority: PriorityName | Priority
    retry: int | Retries
    """How often a failed job is tried again [3], or a policy: `exponential(...)` and the others."""
    timeout: Duration | None
    """Time limit of one attempt; None = none."""
    on_crash: OnCrash
    """What a crash of the worker does to the job: "retry" [this], or "dead" (at most once)."""
    retention: Duration | None
    """How long it is kept after it succeeded or was cancelled [1 h]; None = for ever."""
    dead_retention: Duration | None
    """How long it is kept among the dead letters [30 d]; None = for ever."""
    expires: Moment
    """When it is not worth running any more."""
    unique: str | bool
    """At most one job with this key; True = one for the same arguments."""
    unique_for: UniqueFor
    """How long the key is held: while waiting, until final [this], or for a time."""
    on_conflict: ConflictName
    """If the key is held: return the job that holds it [this], reject the new one, or replace the old."""
    key: str
    """Concurrency key: how many jobs of one key run at a time can be limited."""
    meta: Mapping[str, str]
    """Small text fields that travel with the job."""


class Options(HandlerOptions, total=False):
    """What can be said about one job."""

    delay: Duration
    """Not before this time from now."""
    run_at: datetime
    """Not before this instant."""
    id: str
    """The job's own id; enqueueing it again stores nothing."""
    after: Iterable[HasRef]
    """Jobs that must have succeeded before."""
    run_anyway: bool
    """Run also when a job of `after` ended dead or cancelled."""


class JobOptions(Struct, frozen=True, kw_only=True):
    """Everything about a job but its type, id and payload, as the domain writes it."""

    queue: str = "default"
    priority: Priority = Priority.MEDIUM
    policy: Policy = DEFAULT_POLICY
    due: After | At = NOW
    expires: After | At | None = None
    unique: Unique | None = None
    unique_arguments: bool = False
    """The unique key is made from the arguments; that of `unique` is a stand-in."""
    key: str = ""
    after: tuple[Ref, ...] = ()
    run_anyway: bool = False
    id: str = ""
    meta: Mapping[str, str] = {}


class Template:
    """Jobs of one type and one set of options; copying a job is cheaper than making one."""

    __slots__ = ("_by_arguments", "_job", "job")

    def __init__(self, type: str, options: JobOptions) -> None:
        self._job = Job(
            id=options.id,
            type=type,
            queue=options.queue,
            priority=options.priority,
            policy=options.policy,
            due=options.due,
            expires=options.expires,
            unique=options.unique,
            key=options.key,
            after=options.after,
            run_anyway=options.run_anyway,
            meta=options.meta,
        )
        self._by_arguments = options.unique_arguments
        simple = not (options.id or options.unique_arguments)
        self.job: Callable[[str, bytes], Job] = self._simple if simple else self._special
        """Put a job together from an id and a payload."""

    def _simple(self, id: str, payload: bytes) -> Job:
        return structs.replace(self._job, id=id, payload=payload)

    def _special(self, id: str, payload: bytes) -> Job:
        unique = self._job.unique
        if unique is not None and self._by_arguments:
            digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
            unique = structs.replace(unique, key=f"{self._job.type}:{digest}")
        return structs.replace(self._job, id=self._job.id or id, payload=payload, unique=unique)


def build(type: str, id: str, payload: bytes, options: JobOptions) -> Job:
    """Put one job together."""
    return Template(type, options).job(id, payload)


def amend(base: JobOptions, given: Options) -> JobOptions:
    """Return `base` with what was given; what was left out stays as it is.

    Raises:
        ConfigurationError: naming the option that cannot be used.
    """
    unknown = given.keys() - Options.__annotations__.keys()
    if unknown:
        listed = ", ".join(sorted(Options.__annotations__))
        raise ConfigurationError(f"unknown option {min(unknown)!r}. Known: {listed}")
    if "delay" in given and "run_at" in given:
        raise ConfigurationError("give `delay` or `run_at`, not both")
    return structs.replace(
        base,
        queue=queue_name(given.get("queue", base.queue)),
        priority=priority(given.get("priority", base.priority)),
        policy=_policy(base.policy, given),
        due=_due(base.due, given),
        expires=to_due(given["expires"], "expires") if "expires" in given else base.expires,
        unique=_unique(base.unique, given),
        unique_arguments=_by_arguments(base, given),
        key=_key(given.get("key", base.key), "key"),
        after=_refs(given["after"]) if "after" in given else base.after,
        run_anyway=given.get("run_anyway", base.run_anyway),
        id=_id(given["id"]) if "id" in given else base.id,
        meta={**base.meta, **given.get("meta", {})},
    )


def _policy(base: Policy, given: Options) -> Policy:
    policy = amended(
        base,
        retry=given.get("retry", UNSET),
        timeout=given.get("timeout", UNSET),
        on_crash=given.get("on_crash", UNSET),
        retention=given.get("retention", UNSET),
        dead_retention=given.get("dead_retention", UNSET),
    )
    # The caller may ask again with the same id for a day: it must still be known then.
    return structs.replace(policy, remember_ms=DAY_MS) if "id" in given else policy


def _due(base: After | At, given: Options) -> After | At:
    if "delay" in given:
        delay = given["delay"]
        return After(to_ms(delay, "delay")) if delay else NOW
    return to_instant(given["run_at"], "run_at") if "run_at" in given else base


def _by_arguments(base: JobOptions, given: Options) -> bool:
    return given["unique"] is True if "unique" in given else base.unique_arguments


def _unique(base: Unique | None, given: Options) -> Unique | None:
    if "unique" in given:
        key = given["unique"]
        if key is False:
            return None
        base = Unique(key="arguments" if key is True else _key(key, "unique"))
    if base is None:
        if "unique_for" in given or "on_conflict" in given:
            raise ConfigurationError("unique_for and on_conflict need `unique`: a key, or True")
        return None
    if "unique_for" in given:
        base = _held(base, given["unique_for"])
    if "on_conflict" in given:
        base = structs.replace(base, on_conflict=_on_conflict(given["on_conflict"]))
    return base


def _held(unique: Unique, held: UniqueFor) -> Unique:
    if isinstance(held, timedelta):
        period = to_ms(held, "unique_for")
        return structs.replace(unique, scope=Scope.PERIOD, period_ms=period)
    if held not in ("waiting", "final"):
        raise ConfigurationError(f"unique_for is 'waiting', 'final' or a timedelta, got {held!r}")
    return structs.replace(unique, scope=Scope(held), period_ms=0)


def _on_conflict(name: str) -> OnConflict:
    try:
        return OnConflict(name)
    except ValueError:
        raise ConfigurationError(
            f"on_conflict is 'existing', 'reject' or 'replace', got {name!r}"
        ) from None


def priority(value: str | Priority) -> Priority:
    """Return a priority by its name.

    Raises:
        ConfigurationError: naming the four there are.
    """
    if isinstance(value, Priority):
        return value
    found = Priority.__members__.get(value.upper()) if value.islower() else None
    if found is None:
        listed = ", ".join(one.name.lower() for one in Priority)
        raise ConfigurationError(f"priority {value!r} is not one of {listed}")
    return found


def queue_name(name: str) -> str:
    """Return a queue's name if it can be one.

    Raises:
        ConfigurationError: if it cannot.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"queue {name!r}: letters, digits, _ . and - only, 1 to 128")
    return name


def _id(id: str) -> str:
    if not JOB_ID.fullmatch(id):
        raise ConfigurationError(f"job id {id!r}: letters, digits and _ . : / - only, 1 to 128")
    return id


def _key(key: str, what: str) -> str:
    try:
        fits = len(key.encode()) <= KEY_BYTES and (bool(key) or what != "unique")
    except UnicodeEncodeError:  # a lone surrogate is no text
        fits = False
    if not fits:
        raise ConfigurationError(f"{what} is a text of 1 to {KEY_BYTES} bytes, got {key[:40]!r}")
    return key


def _refs(jobs: Iterable[HasRef]) -> tuple[Ref, ...]:
    return tuple(Ref(job.queue, job.id) for job in jobs)
