"""An application put on another stage: its store, its clock, and where its handlers run.

Handlers, middleware and dependencies stay what they are. What changes: the broker and the clock are
those of the test, and nothing runs in a child process, since a child would know neither them nor what
the test has patched. A suspect (a job that was present at a crash) runs alone in its worker instead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from copy import copy
from random import Random
from typing import Any, TypeVar

from treadle import Jobs
from treadle.broker.base import Broker, Clock
from treadle.errors import ConfigurationError
from treadle.runtime.attempt import Middleware
from treadle.runtime.client import Client, plain_json
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.registry import Registry
from treadle.runtime.threads import Stoppable, ThreadPool

T = TypeVar("T")


def make_client(jobs: Jobs, broker: Callable[[], Broker], clock: Clock) -> Client:
    """Make a client as the application's own is, for another broker."""

    def decode(type: str, data: bytes) -> Any:
        handler = jobs.handlers.get(type)
        return plain_json(type, data) if handler is None else handler.decode_result(data)

    return Client(
        broker, clock=clock, rng=Random(0), decode=decode, payload_limit=jobs.payload_bytes
    )


def stand_in(jobs: Jobs, *inner: Middleware) -> Registry:
    """Return the handlers and middleware of an application, with more middleware inside of its own."""
    jobs.load_plugins()
    registry = Registry()
    for handler in jobs.handlers.values():
        registry.hold(_here(handler))
    for middleware in (*jobs.middleware, *inner):
        registry.use(middleware)
    return registry


def _here(handler: AnyHandler) -> AnyHandler:
    """Return a handler that never runs in a child process."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return handler.function(*args, **kwargs)

    # A function inside a function cannot be imported by a child, so none is started for it.
    twin = copy(handler)
    twin.function = function
    if handler.run_in == "process":
        twin.run = handler.run_in_child
    return twin


class Inline(ThreadPool):
    """Runs sync functions where they are called: virtual time cannot wait for threads."""

    async def call(self, function: Callable[[], T], stoppable: Stoppable | None) -> T:
        """Run a function now."""
        del stoppable
        return copy_context().run(function)

    @property
    def token(self) -> Any:
        """Refuse: a sync handler cannot wait for the loop that it runs on.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "Context.run_async does not work in a simulation: use an async handler"
        )
