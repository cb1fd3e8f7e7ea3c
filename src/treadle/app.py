"""`Jobs`: one application's handlers, settings, plugins and client, put together here and nowhere else.

Making one does nothing: settings are read, plugins imported and brokers connected when they are first
needed, so a module that defines handlers can be imported anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import Random
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import anyio
import msgspec
from msgspec import structs

from treadle.broker.base import Broker, Clock, Durability
from treadle.broker.url import BrokerUrl, parse
from treadle.domain.job import Policy
from treadle.domain.selection import Ordered
from treadle.domain.timetable import refuse_more
from treadle.errors import ConfigurationError
from treadle.plugins import Plugins
from treadle.runtime.client import Client, plain_json
from treadle.runtime.clock import SystemClock
from treadle.runtime.declared import Declared, configured
from treadle.runtime.duration import Duration, to_ms
from treadle.runtime.handle import Job
from treadle.runtime.options import WorkerOptions
from treadle.runtime.portal import PORTAL
from treadle.runtime.registry import Registry
from treadle.runtime.schedules import Schedules
from treadle.runtime.wording import sentence
from treadle.settings import Settings, WorkerSettings, load

if TYPE_CHECKING:
    from treadle.runtime.worker import Worker


class Jobs(Registry):
    """The jobs of one application: register handlers with it, enqueue through them, run a worker.

    The broker is that of `url`, else of the settings (QRUN_URL, `url` in [tool.treadle] ...), else
    `sqlite:///.treadle/jobs.db`. It may be used from any thread and on any event loop.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._given_url = url
        self._given_settings = settings
        self._clock: Clock = SystemClock() if clock is None else clock
        self._making = RLock()
        self._plugins: Plugins | None = None
        self._plugins_loaded = False
        self._root: Broker | None = None
        self._client: Client | None = None
        self._default_policy: Policy | None = None

    @property
    def settings(self) -> Settings:
        """Return the settings it works under; they are read at the first look.

        Raises:
            ConfigurationError: naming each setting that is unknown or does not fit.
        """
        with self._making:
            if self._given_settings is None:
                self._given_settings = load()
            return self._given_settings

    def use_settings(self, settings: Settings) -> None:
        """Work under these settings: those of a command, with its flags.

        Raises:
            ConfigurationError: if it has begun to work under others.
        """
        with self._making:
            if self._root is not None or self._plugins is not None:
                raise ConfigurationError("settings must be given before the first use of Jobs")
            self._given_settings = settings

    @property
    def url(self) -> BrokerUrl:
        """Return the broker's URL: a flag of the command, the argument, or the setting."""
        settings = self.settings
        if self._given_url is None or settings.origin("url") == "flag":
            return parse(settings.url)
        return parse(self._given_url)

    @property
    def plugins(self) -> Plugins:
        """Return the plugins that its settings allow; none is loaded by looking."""
        with self._making:
            if self._plugins is None:
                self._plugins = Plugins.of(self.settings)
            return self._plugins

    def load_plugins(self) -> None:
        """Let plugins check the settings and register their handlers and middleware, once.

        Raises:
            PluginError: naming a plugin that fails or does not fit.
        """
        with self._making:
            if not self._plugins_loaded:
                self.plugins.configure(self.settings)
                self.plugins.register(self)
                self._plugins_loaded = True

    def broker(self) -> Broker:
        """Make an unconnected broker on the store, for one event loop.

        Raises:
            BrokerMissing: if no plugin supplies the URL's scheme; says what to install.
        """
        with self._making:
            if self._root is None:
                self._root = self.plugins.make_broker(self.url, self._clock)
            return self._root.another()

    @property
    def client(self) -> Client:
        """Return its client."""
        if self._client is not None:  # almost all calls; and no lock is held when somebody forks
            return self._client
        with self._making:
            if self._client is None:
                settings = self.settings
                self._client = Client(
                    self.broker,
                    clock=self._clock,
                    rng=Random(),
                    decode=self._decode,
                    enqueue_timeout_s=settings.enqueue_timeout.total_seconds(),
                    payload_limit=settings.payload_limit,
                    durability=settings.durability,
                )
            return self._client

    @property
    def default_policy(self) -> Policy:
        """Return the policy of handlers that do not say otherwise: that of the settings."""
        with self._making:
            if self._default_policy is None:
                job = self.settings.job
                limit = 0 if job.timeout is None else to_ms(job.timeout, "job.timeout")
                self._default_policy = Policy(max_attempts=job.retries + 1, timeout_ms=limit)
            return self._default_policy

    @property
    def durability(self) -> Durability | None:
        """Return the least that its workers accept of a broker: the setting of that name."""
        return self.settings.durability

    @property
    def payload_bytes(self) -> int:
        """Return the limit of a payload."""
        return self.settings.payload_limit

    @property
    def timetable(self) -> Mapping[str, Declared]:
        """Return the schedules that its workers fire, by name: of the code, and of the settings.

        Raises:
            ConfigurationError: if one of the settings fits no handler, or has a name of the code's.
        """
        code, settings = self.declared, self.settings
        if not settings.schedules:
            return code
        refuse_more(len(code) + len(settings.schedules) - 1)
        for name in sorted(code.keys() & settings.schedules.keys()):
            raise ConfigurationError(
                f"the code has a schedule of this name: give another one - at `$.schedules.{name}`"
            )
        own = {name: configured(name, settings, self) for name in settings.schedules}
        return MappingProxyType({**code, **own})

    @property
    def schedules(self) -> Schedules:
        """Return the timetable in the store: list, change, pause and resume schedules at run time."""
        self.load_plugins()
        return Schedules(self.client.broker, lambda: self.timetable)

    async def get(self, id: str, queue: str = "") -> Job[Any]:
        """Return the handle of a job that was enqueued earlier; without a queue all are asked.

        Raises:
            JobNotFound: if it is not known.
        """
        return await self.client.handle(id, queue)

    def get_sync(self, id: str, queue: str = "") -> Job[Any]:
        """Do what `get` does, from a thread that runs no event loop."""
        return PORTAL.call(self.get, id, queue)

    async def __aenter__(self) -> Self:
        self.load_plugins()
        await self.client.broker()
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Connect while a web application runs: `Starlette(lifespan=jobs.lifespan)`."""
        del app  # web frameworks hand over themselves
        async with self:
            yield

    async def close(self) -> None:
        """Disconnect on this event loop. Harmless if nothing is connected; the next call connects again."""
        if self._client is not None:
            await self._client.close()

    def close_sync(self) -> None:
        """Disconnect what `_sync` calls use."""
        PORTAL.call(self.close)

    @contextmanager
    def using(self, *, broker: Broker, client: Client, clock: Clock) -> Generator[None, None, None]:
        """Work on this broker, through this client and under this clock while the block runs.

        For tests of applications: handlers, middleware and settings stay what they are. What was
        connected before stays connected, and is used again afterwards.
        """
        with self._making:
            before = self._root, self._client, self._clock
            self._root, self._client, self._clock = broker, client, clock
        try:
            yield
        finally:
            with self._making:
                self._root, self._client, self._clock = before

    def worker(
        self,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        name: str | None = None,
        grace: Duration | None = None,
        burst: bool = False,
        app: str = "",
    ) -> Worker:
        """Make a worker for its handlers; what is not given comes from the settings.

        `burst` ends it when nothing is due any more; `app` is the `module:attribute` under which a
        child process finds this object.

        Raises:
            ConfigurationError: if an argument cannot be used, or a schedule of the settings fits no handler.
        """
        from treadle.runtime.worker import Worker  # noqa: PLC0415 - who only enqueues needs none

        self.load_plugins()
        _ = self.timetable  # what is wrong with it is told here, and not by a session that runs
        own = _amended(
            self.settings.worker, queues=queues, concurrency=concurrency, name=name or None
        )
        options = structs.replace(
            worker_options(own),
            app=app,
            grace_ms=to_ms(own.grace if grace is None else grace, "grace"),
            burst=burst,
        )
        return Worker(registry=self, broker_factory=self.broker, options=options, clock=self._clock)

    def _decode(self, type: str, data: bytes) -> Any:
        handler = self.handlers.get(type)
        return plain_json(type, data) if handler is None else handler.decode_result(data)


def _amended(own: WorkerSettings, **given: object) -> WorkerSettings:
    """Return the settings with what is given in their place, checked as they are."""
    given = {name: value for name, value in given.items() if value is not None}
    try:
        checked = msgspec.convert(given, WorkerSettings)
    except msgspec.ValidationError as error:
        what, _ = sentence(error, (), b"")
        raise ConfigurationError(f"worker: {what.partition(' (at ')[0]}") from None
    return structs.replace(own, **{name: getattr(checked, name) for name in given})


def worker_options(own: WorkerSettings) -> WorkerOptions:
    """Return what the settings say of workers."""
    lease_ms = to_ms(own.lease, "worker.lease")
    return WorkerOptions(
        selection=Ordered(tuple(own.queues)),
        concurrency=own.concurrency,
        name=own.name or "",
        grace_ms=to_ms(own.grace, "worker.grace"),
        lease_ms=lease_ms,
        beat_ms=lease_ms // 3,
        poll_ms=to_ms(own.poll_interval, "worker.poll_interval"),
        schedules=True,
    )
