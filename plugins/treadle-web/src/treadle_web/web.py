"""What all requests of one HTTP interface share."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from treadle.app import Jobs
from treadle.broker.base import Broker
from treadle.runtime.client import Client
from treadle_web.activity import Types
from treadle_web.feed import Feed


class Limits(Struct, frozen=True, kw_only=True):
    """How much one request may ask for."""

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    connections: int = 1_000
    """How many `qrun web` holds at a time; who comes then is told to come later."""
    head_s: float = 10.0
    """How long the headers of a request may take to arrive, at `qrun web`."""
    body_s: float = 10.0
    """How long a body may take to arrive."""
    request_s: float = 30.0
    unread_s: float = 30.0
    """How long what was sent may wait for a client that does not read, at `qrun web`."""
    bulk_s: float = 10.0
    """How long one bulk action goes on before it answers how far it got."""
    depth: int = 70
    """How deep a body may nest: a payload, and what stands around it."""
    listeners: int = 100
    """How many may listen to events at a time."""
    stream_s: float = 300.0
    """A stream of events ends after it; its client comes back, and is asked for its token again."""
    keep_alive_s: float = 15.0
    """A stream that is silent for so long sends a comment."""


DEFAULT_LIMITS: Final = Limits()


class Web:
    """The jobs that the interface serves, and its limits."""

    def __init__(self, jobs: Jobs, *, limits: Limits, typed: bool | None) -> None:
        self.jobs = jobs
        self.limits = limits
        self._typed = typed
        self.feed = Feed(self.broker, most=limits.listeners)
        self.types = Types()

    @property
    def client(self) -> Client:
        """Return the client of the jobs."""
        return self.jobs.client

    @property
    def typed(self) -> bool:
        """Tell whether only jobs of known types, with payloads that fit, are accepted."""
        return bool(self.jobs.handlers) if self._typed is None else self._typed

    @property
    def redact(self) -> tuple[str, ...]:
        """Return what is never shown."""
        return self.jobs.settings.redact

    async def broker(self) -> Broker:
        """Return the broker, connected."""
        return await self.client.broker()

    async def now(self) -> int:
        """Return the broker's time: what was written a moment ago is not in its future."""
        return (await self.client.stats()).now
