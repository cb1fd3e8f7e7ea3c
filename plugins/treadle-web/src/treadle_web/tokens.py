"""Tokens: made here, shown once, stored as a hash in the broker, and known to every server of the store.

A token is `trd_<id>_<secret>`; the secret has 256 random bits, so a plain SHA-256 of the token is enough to
keep. The document `token:<id>` holds the hash, the name under which its holder acts, and the scopes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from treadle.broker.base import Broker, Document
from treadle.domain.limits import NAME as QUEUE
from treadle.errors import ConfigurationError
from treadle_web.operation import ALL_SCOPES, Principal, Scope

PREFIX: Final = "token:"
LEAST_CHARS: Final = 32
_LEAST_DIFFERENT: Final = 8
_TOKEN: Final = re.compile(r"trd_([0-9a-f]{12})_[A-Za-z0-9_\-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Stored(Struct, frozen=True, kw_only=True):
    """What is kept of a token."""

    name: str
    hash: str
    scopes: tuple[Scope, ...]
    created: int
    """Broker time in ms."""
    queues: tuple[str, ...] = ()
    """The queues that it is about; none named: all."""


class Listed(Struct, frozen=True, kw_only=True):
    """A token as it is listed: never the token itself."""

    id: str
    stored: Stored


def hash_of(token: str) -> str:
    """Return what is kept in the place of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_strength(token: str) -> str:
    """Return a token that somebody chose, if it is strong enough.

    Raises:
        ConfigurationError: if it is not.
    """
    if len(token) < LEAST_CHARS or len(set(token)) < _LEAST_DIFFERENT:
        raise ConfigurationError(
            f"the token is too weak: at least {LEAST_CHARS} characters, {_LEAST_DIFFERENT} of them "
            "different. Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


async def create(
    broker: Broker, name: str, scopes: Iterable[Scope], queues: Iterable[str] = ()
) -> str:
    """Store a new token and return it; nobody can read it again.

    With `queues` it sees and changes only what is in those.

    Raises:
        ConfigurationError: if the name, or one of the queues, cannot be one.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(f"token name {name!r}: letters, digits, _ . and - only, 1 to 64")
    limited = tuple(sorted(set(queues)))
    for queue in limited:
        if QUEUE.fullmatch(queue) is None:
            raise ConfigurationError(f"no queue can be called {queue!r}")
    token_id = secrets.token_hex(6)
    token = f"trd_{token_id}_{secrets.token_urlsafe(32)}"
    now = (await broker.stats()).now
    stored = Stored(
        name=name,
        hash=hash_of(token),
        scopes=tuple(sorted(set(scopes))),
        created=now,
        queues=limited,
    )
    written = await broker.put_document(PREFIX + token_id, msgspec.json.encode(stored), 0)
    if written is None or written.data != msgspec.json.encode(stored):
        raise ConfigurationError("another token has the same id: try again")
    return token


async def listed(broker: Broker) -> list[Listed]:
    """Return every token that is stored, without what cannot be read."""
    found = [_read(document) for document in await broker.documents(PREFIX)]
    return [one for one in found if one is not None]


async def revoke(broker: Broker, id: str) -> bool:
    """Remove a token; servers forget it within seconds. False if there is none of that id."""
    while (document := await broker.document(PREFIX + id)) is not None:
        if await broker.put_document(document.name, None, document.version) is None:
            return True
    return False


async def look_up(broker: Broker, token: str) -> Listed | None:
    """Return what is stored under the id of a token, which may be another one's."""
    found = _TOKEN.fullmatch(token)
    document = None if found is None else await broker.document(PREFIX + found[1])
    return None if document is None else _read(document)


def _read(document: Document) -> Listed | None:
    try:
        stored = msgspec.json.decode(document.data, type=Stored)
    except msgspec.MsgspecError:
        return None
    return Listed(id=document.name.removeprefix(PREFIX), stored=stored)


def holder(token: str, known: Mapping[str, Stored], secret: str) -> Principal | None:
    """Return whose token this is; compares in constant time, whether there is such an id or not.

    `secret` is the hash of the token of this server's own environment, or "".
    """
    own = hash_of(token)
    is_secret = hmac.compare_digest(own, secret or hash_of(secrets.token_hex()))
    found = _TOKEN.fullmatch(token)
    stored = None if found is None else known.get(found[1])
    fits = hmac.compare_digest(own, hash_of(own) if stored is None else stored.hash)
    if secret and is_secret:
        return Principal("environment", ALL_SCOPES)
    if stored is not None and fits:
        queues = frozenset(stored.queues) if stored.queues else None
        return Principal(stored.name, frozenset(stored.scopes), queues)
    return None
