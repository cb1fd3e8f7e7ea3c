"""Who may ask at all: the host that a request names, where it comes from, and its token.

What a browser sends across sites never gets far: the Host header must be one of ours (so no foreign
name can be made to point here), what changes something must come from our own origin, and there is no CORS.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import anyio
from msgspec import Struct

from treadle.errors import ConfigurationError
from treadle_web.asked import Asked
from treadle_web.operation import ALL_SCOPES, Principal
from treadle_web.problems import Refusal
from treadle_web.tokens import Stored, check_strength, hash_of, holder, listed, look_up
from treadle_web.web import Web

OPEN: Final = frozenset({"/livez", "/readyz", "/health"})
"""Answered to anybody, under any name: they tell nothing but whether it works."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FAILURES: Final = 10
_WINDOW_S: Final = 60.0
_ADDRESSES: Final = 1_024
_ANYBODY: Final = Principal("anybody", ALL_SCOPES)


class Access(Struct, frozen=True, kw_only=True):
    """Who is let in."""

    hosts: frozenset[str] = LOOPBACK
    """The names of the Host header, without ports; `*` lets all in."""
    secret: str = ""
    """The hash of a token that may do everything; "" = none."""
    open: bool = False
    """Until there is a token for the first time, nobody needs one."""
    fresh_s: float = 5.0
    """For how long a server goes by the tokens that it read."""


def access(
    *, bind: str | None = None, hosts: tuple[str, ...] = (), token: str = "", open: bool = False
) -> Access:
    """Return who is let in by a server that listens on `bind`; None: it is mounted in another one.

    Raises:
        ConfigurationError: if a token is weak.
    """
    names = {name.lower().strip("[]") for name in hosts}
    if bind is not None and not _is_any(bind):
        names.add(bind.lower().strip("[]"))
    return Access(
        hosts=LOOPBACK | names,
        secret=hash_of(check_strength(token)) if token else "",
        open=open and not token,
    )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def refuse_bind(host: str, *, has_token: bool) -> None:
    """Refuse to listen where others reach it, unless they need a token.

    Raises:
        ConfigurationError: saying how to make one.
    """
    if not has_token and not is_loopback(host):
        raise ConfigurationError(
            f"listening on {host} needs a token: everybody who reaches it could run jobs. Make one "
            "with `qrun token create NAME --scope operate`, or set QRUN_PLUGIN_WEB_TOKEN "
            "(32 characters or more)."
        )


DEFAULT_ACCESS: Final = Access()


class Guard:
    """Lets requests in, and says who asks."""

    def __init__(self, web: Web, access: Access) -> None:
        self._web = web
        self._access = access
        self._known: dict[str, Stored] = {}
        self._open = access.open
        """Once a token was seen it stays closed: whoever revokes the last one lets nobody in."""
        self._read_at = float("-inf")
        self._reading = anyio.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    async def admit(self, request: Asked, path: str) -> Principal | None:
        """Return who asks; None for what is open to anybody.

        Raises:
            Refusal: 401, 403, 421, 429.
        """
        if path in OPEN:
            return None
        self._check_host(request)
        given = request.given
        if (b"origin" in given or b"sec-fetch-site" in given) and request.method not in _SAFE:
            _check_origin(request)
        if b"authorization" in given:
            return await self._holder(request, request.header(b"authorization"))
        if self._open and not (self._known if self._is_fresh() else await self._tokens()):
            return _ANYBODY
        raise _unauthorized("a token is needed: Authorization: Bearer ...")

    def _check_host(self, request: Asked) -> None:
        hosts = self._access.hosts
        named = _host_of(request.header(b"host"))
        if named not in hosts and "*" not in hosts:
            text = "this server does not answer to that host name: `qrun web --allow-host` adds one"
            raise Refusal(421, "misdirected", text)

    async def _holder(self, request: Asked, given: str) -> Principal:
        scheme, _, token = given.partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer":
            known = await self._tokens()
            found = holder(token, known, self._access.secret)
            if found is not None:
                return found
        self._count_failure(request.client.host if request.client else "")
        fresh = await look_up(await self._web.broker(), token)  # made since the last reading?
        if scheme.lower() == "bearer" and fresh is not None:
            found = holder(token, {fresh.id: fresh.stored}, "")
            if found is not None:
                self._known[fresh.id], self._open = fresh.stored, False
                return found
        raise _unauthorized("this token is not known, or was revoked")

    def _count_failure(self, address: str) -> None:
        now = time.monotonic()
        recent = self._failures.pop(address, deque[float](maxlen=_FAILURES))
        self._failures[address] = recent
        if len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)
        wait = _WINDOW_S - (now - recent[0]) if len(recent) == _FAILURES else 0
        if wait > 0:
            headers = {"Retry-After": str(int(wait) + 1)}
            raise Refusal(429, "too_many_failures", "too many failed logins", headers=headers)
        recent.append(now)

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._read_at <= self._access.fresh_s

    async def _tokens(self) -> dict[str, Stored]:
        """Return what is stored, as it was a few seconds ago at most."""
        if not self._is_fresh():
            async with self._reading:  # nobody may be let in before the first reading has ended
                if not self._is_fresh():
                    found = await listed(await self._web.broker())
                    self._known = {one.id: one.stored for one in found}
                    self._open = self._open and not found
                    self._read_at = time.monotonic()
        return self._known


@lru_cache(maxsize=64)
def _host_of(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _check_origin(request: Asked) -> None:
    """Refuse what a page of another site makes a browser send."""
    site = request.given.get(b"sec-fetch-site", b"none").lower()
    is_own = b"origin" not in request.given or not _is_foreign(request)
    if not is_own or site not in (b"none", b"same-origin"):
        raise Refusal(403, "foreign_origin", "requests of other sites change nothing here")


def _is_foreign(request: Asked) -> bool:
    try:
        named = urlsplit(request.header(b"origin")).netloc.lower()
    except ValueError:
        return True
    return named != request.header(b"host").lower()


def _unauthorized(text: str) -> Refusal:
    headers = {"WWW-Authenticate": 'Bearer realm="treadle"'}
    return Refusal(401, "unauthorized", text, headers=headers)
