"""Where the demo and the benchmark work: a store of their own, removed at the end."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from treadle.broker.url import BrokerUrl, parse, with_namespace


@contextmanager
def fresh_place(url: str | None, what: str) -> Generator[str]:
    """Give the URL of a store that nobody else uses, and remove its files afterwards.

    Without a URL it is an SQLite file in a temporary folder, for SQLite a new file beside the
    named one, for others a random namespace, whose jobs the caller removes.
    """
    if url is None:
        folder = Path(tempfile.mkdtemp(prefix=f"treadle-{what}-"))
        try:
            yield f"sqlite:///{folder / 'jobs.db'}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    parsed = parse(url)
    token = f"{what}-{secrets.token_hex(4)}"
    if parsed.scheme != "sqlite":
        yield with_namespace(url, token)
        return
    path = _beside(parsed, token)
    try:
        _, mark, query = url.partition("?")
        yield f"sqlite:///{path}{mark}{query}"
    finally:
        _remove(path)


def _beside(url: BrokerUrl, token: str) -> Path:
    named = Path(url.path)
    return named.with_name(f"{named.stem}-{token}{named.suffix or '.db'}")


def _remove(path: Path) -> None:
    """Remove a database file and what its broker laid beside it."""
    for found in path.parent.glob(f"{path.name}*"):
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)
