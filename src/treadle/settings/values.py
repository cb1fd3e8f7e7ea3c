"""The settings themselves: one frozen tree, each leaf with its default.

A leaf is named by its path: `worker.concurrency` is `concurrency` of `[tool.treadle.worker]`, and
`QRUN_WORKER_CONCURRENCY` in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, TypeVar

import msgspec
from msgspec import Meta, Struct

from treadle.broker.url import masked
from treadle.broker.values import Durability
from treadle.domain.limits import NAME, PAYLOAD_BYTES
from treadle.errors import ConfigurationError
from treadle.settings.redact import redacted
from treadle.settings.units import written

DEFAULT_URL = "sqlite:///.treadle/jobs.db"

UNSET = "-"
"""How a setting that has no value is shown."""

Bytes = NewType("Bytes", int)
Name = Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
PriorityName = Literal["critical", "high", "medium", "low"]
CatchUpName = Literal["all", "once", "skip"]
S = TypeVar("S", bound=Struct)


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    CONSOLE = "console"
    JSON = "json"
    LOGFMT = "logfmt"


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """How a worker process runs jobs: `[tool.treadle.worker]`."""

    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """How many jobs run at a time in one process."""
    queues: Annotated[tuple[Name, ...], Meta(min_length=1)] = ("default",)
    """Which queues are served, the first one first."""
    name: Name | None = None
    """The name of its sessions; without one, the host's name and the first free slot."""
    processes: Annotated[int, Meta(ge=0, le=256)] = 0
    """How many worker processes `qrun worker` supervises; 0 = it works itself, unsupervised."""
    grace: timedelta = timedelta(seconds=25)
    """How long running jobs may go on once the worker was asked to stop."""
    lease: timedelta = timedelta(seconds=15)
    """After what time without a heartbeat its jobs belong to others."""
    poll_interval: timedelta = timedelta(seconds=1)
    """The longest wait of a broker that cannot be woken, and of one whose wake-up was lost."""
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    """Where each worker process serves its counts to Prometheus, on 127.0.0.1; 0 = any free port."""


class JobSettings(Struct, frozen=True, kw_only=True):
    """What holds for handlers that do not say otherwise: `[tool.treadle.job]`."""

    timeout: timedelta | None = None
    """Time limit of one attempt; none by default."""
    retries: Annotated[int, Meta(ge=0, le=1_000)] = 3


class LogSettings(Struct, frozen=True, kw_only=True):
    """What the worker process writes: `[tool.treadle.log]`."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat | None = None
    """`console`, `json` or `logfmt`; without one, console on a terminal, JSON otherwise."""


class WebSettings(Struct, frozen=True, kw_only=True):
    """Where the HTTP interface listens, if its plugin is installed: `[tool.treadle.web]`."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    buffer: Annotated[int, Meta(ge=1)] | None = None
    """How many jobs may wait in each of `worker.queues`: `qrun web` tells the store to refuse more."""


class ScheduleSettings(Struct, frozen=True, kw_only=True):
    """One schedule: `[tool.treadle.schedules.NAME]`. Either `cron` or `every` says when it fires."""

    cron: str | None = None
    """A cron expression of five fields, or six with seconds in front."""
    every: timedelta | None = None
    """A period, at least 1 s."""
    tz: str = "UTC"
    """The time zone of the clock that `cron` looks at."""
    type: Name | None = None
    """The handler that runs; without one, that of the schedule's own name."""
    payload: Mapping[str, Any] = {}
    """The arguments of the handler, by name; in a variable, as a JSON object."""
    queue: Name | None = None
    """The queue of its jobs; without one, that of the handler."""
    priority: PriorityName | None = None
    """The priority of its jobs; without one, that of the handler."""
    retries: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    """How often a failed job is tried again; without a number, as the handler says."""
    timeout: timedelta | None = None
    """Time limit of one attempt; without one, that of the handler."""
    catch_up: CatchUpName = "all"
    """What becomes of ticks while no scheduler ran: `all` are fired, `once`, or `skip`."""
    look_back: timedelta | None = None
    """How late a tick may still be fired: 1 minute if it is not said, at most 1 hour."""


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, with the origin of each: `[tool.treadle]`."""

    url: str = DEFAULT_URL
    """The broker. Its namespace is the query option `namespace`."""
    app: str | None = None
    """The `Jobs` object of the command: `module:attribute`."""
    profile: Name | None = None
    """The contract of another service: its defaults hold for every command, and `qrun web` serves it."""
    plugins: tuple[str, ...] | None = None
    """The plugins that may load, in this order; without it, first-party ones."""
    disable_plugins: tuple[str, ...] = ()
    """Plugins that are left out, whatever else is said."""
    trace_plugins: bool = False
    """Write each plugin that loads and each hook that is called to stderr."""
    durability: Durability | None = None
    """Refuse to start on a broker whose live settings promise less."""
    payload_limit: Bytes = Bytes(PAYLOAD_BYTES)
    enqueue_timeout: timedelta = timedelta(seconds=5)
    """After what time an enqueue has been accepted, was not accepted, or is uncertain."""
    redact: tuple[str, ...] = ()
    """Parts of payloads, results and logs that are never shown: `*.password`, `payload.card.*`."""
    job: JobSettings = JobSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    web: WebSettings = WebSettings()
    schedules: Mapping[str, ScheduleSettings] = {}
    """Schedules beside those of the code, by name: `[tool.treadle.schedules.NAME]`."""
    plugin: Mapping[str, Mapping[str, object]] = {}
    """Tables of plugins, by name: `[tool.treadle.plugin.NAME]`; read them with `section`."""
    origins: Mapping[str, str] = {}
    """Where each leaf that is not a default came from, by path."""

    def section(self, name: str, type: type[S]) -> S:
        """Read the table of a plugin into the plugin's own Struct.

        Raises:
            ConfigurationError: naming what does not fit.
        """
        try:
            return msgspec.convert(self.plugin.get(name, {}), type, strict=False)
        except msgspec.ValidationError as error:
            text = str(error).replace("`$", f"`$.plugin.{name}")
            raise ConfigurationError(f"{text} ({self.origin(f'plugin.{name}')})") from None

    def origin(self, path: str) -> str:
        """Return where a leaf came from."""
        return self.origins.get(path, "default")

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, value and origin of every leaf, as text and without secrets."""
        for path, value in leaves(self):
            yield path, _shown(value), self.origin(path)
        for name, schedule in self.schedules.items():
            yield from self._schedule_rows(name, schedule)
        for name, table in self.plugin.items():
            # What a plugin keeps secret is not known here: names are told, values are not.
            keys = ", ".join(table)
            yield f"plugin.{name}", f"({keys})", self.origin(f"plugin.{name}")

    def _schedule_rows(
        self, name: str, schedule: ScheduleSettings
    ) -> Iterator[tuple[str, str, str]]:
        """Yield what was said of a schedule; what was not said of it is left out."""
        for field in schedule.__struct_fields__:
            path = f"schedules.{name}.{field}"
            value: object = getattr(schedule, field)
            if path not in self.origins:
                continue
            if field == "payload":
                data = redacted(msgspec.json.encode(value), field, self.redact)
                value = data.decode(errors="replace")
            yield path, _shown(value), self.origin(path)


_NO_LEAVES = frozenset({"schedules", "plugin", "origins"})


def leaves(settings: Struct, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield path and value of every leaf of the tree."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Struct):
            yield from leaves(value, f"{prefix}{name}.")
        elif name not in _NO_LEAVES:
            yield prefix + name, value


def _shown(value: object) -> str:
    match value:
        case None:
            return UNSET
        case bool():
            return str(value).lower()
        case timedelta():
            return written(value)
        case tuple():
            return ", ".join(map(str, value)) or UNSET  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return masked(str(value))
