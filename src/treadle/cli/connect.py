"""From settings to a connected broker, and from async code to a command."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import anyio

from treadle.app import Jobs
from treadle.broker.base import Broker
from treadle.broker.url import BrokerUrl
from treadle.cli.call import Call
from treadle.errors import BrokerUnavailable
from treadle.runtime.client import Client

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]], *, fast: bool = False) -> T:
    """Run an async function to its end on an event loop of its own; `fast` takes uvloop if it can."""
    options = {"use_uvloop": True} if fast and find_spec("uvloop") is not None else {}
    return anyio.run(main, backend_options=options)


@asynccontextmanager
async def asking(call: Call, jobs: Jobs | None = None) -> AsyncGenerator[Client]:
    """Connect a client to the broker of a command, for as long as the block runs.

    `jobs` is the app of the command, if it has one.

    Raises:
        BrokerUnavailable: telling also where the URL came from.
    """
    own = Jobs(settings=call.settings()) if jobs is None else jobs
    if own.url.scheme == "memory":
        call.output.note(
            "memory:// lives in one process: this command sees an empty broker, and what it "
            "enqueues is gone when it ends."
        )
    is_new = jobs is None and is_missing(own.url)
    async with reached(own) as client:
        if is_new:
            origin = own.settings.origin("url")
            call.output.note(
                f"There was no {own.url}: an empty one was made. (URL from: {origin}) "
                "A URL that stands only in the code of an app is not seen here: give it with --url."
            )
        yield client


def is_missing(url: BrokerUrl) -> bool:
    """Tell whether a URL names a file that is not there yet."""
    return url.scheme == "sqlite" and not Path(url.path).exists()


@asynccontextmanager
async def reached(jobs: Jobs) -> AsyncGenerator[Client]:
    """Connect the client of an app, for as long as the block runs.

    Raises:
        BrokerUnavailable: telling also where the URL came from.
    """
    client = jobs.client
    try:
        await client.broker()
    except BrokerUnavailable as error:
        origin = jobs.settings.origin("url")
        raise BrokerUnavailable(f"{error} (URL from: {origin})") from error
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True):
            await jobs.close()


@asynccontextmanager
async def connected(call: Call) -> AsyncGenerator[Broker]:
    """Connect to the broker of a command that only reads, or asks nothing of a job."""
    async with asking(call) as client:
        yield await client.broker()
