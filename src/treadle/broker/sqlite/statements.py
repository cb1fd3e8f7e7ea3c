"""Reads the `.sql` files: statements by name, without their comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_HEAD = (
    "job.seq, job.id, job.queue, job.prio, job.state, job.fence, job.due, job.attempt, job.cancel,"
    " job.created, job.claimed, job.session, job.finished, job.expires, job.blocked_on, job.more"
)
"""`{head}` in a statement: what `rows` needs to build a head, in its order."""

_FILES = resources.files("treadle.broker.sqlite")

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"\s*--.*$", re.MULTILINE)


@cache
def load(topic: str) -> Mapping[str, str]:
    """Return the statements of one file; a missing name is a KeyError at import."""
    text = (_FILES / "sql" / f"{topic}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: _bare(body) for name, body in named}


def _bare(text: str) -> str:
    return " ".join(_COMMENT.sub("", text).split()).removesuffix(";").replace("{head}", _HEAD)


def topics() -> tuple[str, ...]:
    """Name all files of statements."""
    return tuple(sorted(file.name.removesuffix(".sql") for file in (_FILES / "sql").iterdir()))


def migrations() -> tuple[str, ...]:
    """Return the migration scripts in order; the first makes schema 1."""
    files = sorted((_FILES / "schema").iterdir(), key=lambda f: f.name)
    return tuple(file.read_text(encoding="utf-8") for file in files)
