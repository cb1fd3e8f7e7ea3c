"""Where the demo and the benchmark work: a store of their own, erased at the end."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress

import anyio

from treadle.app import Jobs
from treadle.broker.url import with_namespace
from treadle.cli.connect import run
from treadle.errors import BrokerUnavailable, TreadleError

_ERASE_S = 60.0


@contextmanager
def fresh_place(url: str | None, what: str) -> Generator[str]:
    """Give the URL of a store that nobody else uses, and erase it afterwards.

    With a URL it is a random namespace there, else an SQLite file in a temporary folder.

    Raises:
        BrokerUnavailable: if it could not be erased, and nothing else went wrong.
    """
    if url is None:
        with tempfile.TemporaryDirectory(prefix=f"treadle-{what}-") as folder:
            yield f"sqlite:///{folder}/jobs.db"
        return
    place = with_namespace(url, f"{what}-{secrets.token_hex(4)}")
    try:
        yield place
    except BaseException:
        with suppress(TreadleError):  # what went wrong first is what counts
            _erase(place)
        raise
    _erase(place)


def _erase(url: str) -> None:
    async def main() -> None:
        broker = Jobs(url).broker()
        with anyio.move_on_after(_ERASE_S) as patience:
            await broker.erase()
        if patience.cancelled_caught:
            raise BrokerUnavailable(f"{broker.url} was not erased within {_ERASE_S:g} s")

    run(main)
