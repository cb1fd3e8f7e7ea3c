"""The Lua scripts: each is the files that it stands on and its own, sent once and called by digest."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from msgspec import Struct

_READS: Final = "no-writes"
"""May run on a server that takes no writes."""
_FREES: Final = "allow-oom"
"""May run when memory is full: it lets running jobs finish and makes room."""

_MOVES: Final = ("books", "records", "moves", "store")
_WRITES: Final = (*_MOVES, "writes", "apply")


class Text(Struct, frozen=True):
    """What a server is sent, and the digest that it knows it by."""

    text: str
    digest: str


class Script(Struct, frozen=True):
    """A script and what it is called: in a cluster it stands on other ground than on one server."""

    name: str
    alone: Text
    clustered: Text


def _load(name: str, parts: tuple[str, ...], flags: str = "") -> Script:
    names = (*parts, name)
    return Script(name, _text(("alone", *names), flags), _text(("cluster", *names), flags))


def _text(parts: tuple[str, ...], flags: str) -> Text:
    folder = resources.files("treadle_redis") / "lua"
    texts = [(folder / f"{part}.lua").read_text("utf-8") for part in parts]
    text = "\n".join([f"#!lua flags={flags}" if flags else "#!lua", *texts])
    return Text(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ENQUEUE: Final = _load("enqueue", _MOVES)
TURN: Final = _load("turn", (*_WRITES, "sessions", "claims"), _FREES)
OPEN: Final = _load("open", ("books", "records", "sessions"))
CLOSE: Final = _load("close", ("books", "records", "sessions"), _FREES)
HEARTBEAT: Final = _load("heartbeat", ("books", "records", "sessions"), _FREES)
OVERDUE: Final = _load("overdue", (*_MOVES, "sessions"), _FREES)
PURGE: Final = _load("purge", (*_WRITES, "sessions"), _FREES)
SCHEMA: Final = _load("schema", ("books",), _FREES)
RING: Final = _load("ring", ("books",), _FREES)
NOTE: Final = _load("note", _MOVES)
CONTROL: Final = _load("control", _MOVES)
GET: Final = _load("get", _MOVES, _READS)
FIND: Final = _load("find", ("books", "records"), _READS)
STATS: Final = _load("stats", ("books", "records"), _READS)
NOTES: Final = _load("notes", ("books",), _READS)
LOOK: Final = _load("look", ("books", "records", "sessions"), _READS)
