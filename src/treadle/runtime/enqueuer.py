"""Enqueueing jobs of one handler, with the handler's own defaults or with other options.

The arguments are those of the handler's function, so type checkers see a wrong one; at run time they are
checked before anything is sent to the broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack, cast

from treadle.domain.job import Job as DomainJob
from treadle.domain.unique import Unique
from treadle.errors import ConfigurationError, PayloadError, TooLarge
from treadle.runtime.arguments import Arguments, as_dict
from treadle.runtime.ids import new_id, new_ids
from treadle.runtime.job_options import JobOptions, Options, Template, amend, build

if TYPE_CHECKING:
    from treadle.runtime.handle import Job
    from treadle.runtime.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")

_PORTION: Final = 1_000
"""So many payloads are checked and encoded together."""
_ANY_KEY = Unique(key="any")
"""Stands for the key that an earlier option or the handler may have set."""


class Target:
    """What jobs are made for: the name and arguments of a handler, and the registry it belongs to."""

    __slots__ = ("arguments", "name", "registry", "version")

    def __init__(self, name: str, arguments: Arguments, registry: Registry) -> None:
        self.name = name
        self.arguments = arguments
        self.registry = registry
        self.version = 0

    def move(self, registry: Registry) -> None:
        """Belong to another registry: that of the application that includes a group."""
        self.registry = registry
        self.version += 1


class Enqueuer(Generic[P, R]):
    """Makes and enqueues jobs of one handler; its arguments are those of the handler's function.

    The `_sync` twins are for code without a running event loop: Django, Flask, scripts.
    """

    def __init__(self, target: Target, given: Options, base: Enqueuer[P, R] | None = None) -> None:
        self._target = target
        self._given = given
        self._base = base
        self._version = -1
        self._options = JobOptions()
        self._template = Template(target.name, self._options)
        self._limit = 0

    def options(self, **given: Unpack[Options]) -> Enqueuer[P, R]:
        """Return an enqueuer with other options; what is left out stays as it is.

        Raises:
            ConfigurationError: naming the option that cannot be used.
        """
        # Checked now, so that the line with the mistake is in the traceback; used when the
        # application knows its settings.
        amend(JobOptions(unique=_ANY_KEY), given)
        return Enqueuer(self._target, given, self)

    @property
    def job_options(self) -> JobOptions:
        """Return what is said about its jobs, on top of the application's defaults."""
        if self._version != self._target.version:
            self._settle()
        return self._options

    def _settle(self) -> None:
        """Work out what holds in the application that the handler belongs to now."""
        target = self._target
        if self._base is None:
            base = JobOptions(policy=target.registry.default_policy)
        else:
            base = self._base.job_options
        self._options = amend(base, self._given)
        self._template = Template(target.name, self._options)
        self._limit = target.registry.payload_bytes
        self._version = target.version

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue one job; when this returns, the job is stored.

        Raises:
            PayloadError: if the arguments do not fit; nothing was enqueued.
            NotAccepted: if the broker refused it; nothing was stored.
            Uncertain: if no reply came; asking again with the same id is safe.
        """
        (job,) = await self._target.registry.client.enqueue(
            [self.job(*args, **kwargs)], checked=True
        )
        return cast("Job[R]", job)

    async def enqueue_many(self, payloads: Iterable[Mapping[str, Any]]) -> list[Job[R]]:
        """Enqueue a job for each mapping of arguments by name; all are checked before any is sent."""
        jobs = self.jobs(payloads)
        return cast("list[Job[R]]", await self._target.registry.client.enqueue(jobs, checked=True))

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Do what `enqueue` does, from code without a running event loop."""
        (job,) = self._target.registry.client.enqueue_sync([self.job(*args, **kwargs)])
        return cast("Job[R]", job)

    def enqueue_many_sync(self, payloads: Iterable[Mapping[str, Any]]) -> list[Job[R]]:
        """Do what `enqueue_many` does, from code without a running event loop."""
        jobs = self.jobs(payloads)
        return cast("list[Job[R]]", self._target.registry.client.enqueue_sync(jobs))

    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> DomainJob:
        """Make a job without enqueueing it.

        Raises:
            PayloadError: if the arguments do not fit.
            TooLarge: if they have too many bytes.
        """
        if self._version != self._target.version:
            self._settle()
        arguments = self._target.arguments
        payload = arguments.encode(arguments.bind(args, kwargs), self._limit)
        return self._template.job(new_id(), payload)

    def jobs(self, payloads: Iterable[Mapping[str, Any]]) -> list[DomainJob]:
        """Make a job for each mapping of arguments by name, without enqueueing them.

        Raises:
            PayloadError: naming the item that does not fit.
            TooLarge: naming the item that has too many bytes.
        """
        options = self.job_options
        if isinstance(payloads, list | tuple):
            texts = self._encode_listed(cast("Sequence[Mapping[str, Any]]", payloads))
        else:
            # It may fill one mapping again and again: each is encoded before the next is asked for.
            texts = self._encode_each(map(as_dict, payloads))
        if options.id and len(texts) > 1:
            raise ConfigurationError(f"options(id={options.id!r}) names one job, got {len(texts)}")
        return list(map(self._template.job, new_ids(len(texts)), texts))

    def _encode_listed(self, payloads: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Encode payloads that are all there, many at once."""
        texts: list[bytes] = []
        for start in range(0, len(payloads), _PORTION):
            portion = payloads[start : start + _PORTION]
            try:
                some = list(map(as_dict, portion))
            except PayloadError:
                return self._encode_each(map(as_dict, payloads))  # which says which one it is
            together = self._target.arguments.encode_many(some, self._limit)
            texts += self._encode_each(some, start) if together is None else together
        return texts

    def _encode_each(self, payloads: Iterable[dict[str, Any]], before: int = 0) -> list[bytes]:
        """Encode payloads one by one; `before` counts those that came before them."""
        encode, limit = self._target.arguments.encode, self._limit
        texts: list[bytes] = []
        try:
            for payload in payloads:
                texts.append(encode(payload, limit))  # noqa: PERF401 - the error counts them
        except PayloadError as error:
            text = f"item {before + len(texts)}: {error}"
            raise PayloadError(text, path=error.path) from error
        except TooLarge as error:
            raise TooLarge(f"item {before + len(texts)}: {error}") from error
        return texts

    def job_of_json(self, payload: bytes, given: Options | None = None) -> DomainJob:
        """Make a job from a payload that is JSON already, without enqueueing it.

        Raises:
            PayloadError: if it does not fit the handler.
            TooLarge: if it has too many bytes.
            ConfigurationError: if an option cannot be used.
        """
        options = amend(self.job_options, given) if given else self.job_options
        accepted = self._target.arguments.accept(payload, self._limit)
        if options is self._options:
            return self._template.job(new_id(), accepted)
        return build(self._target.name, new_id(), accepted, options)
