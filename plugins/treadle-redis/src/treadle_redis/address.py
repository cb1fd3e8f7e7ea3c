"""Where the server is and how to speak to it: what a broker URL says, checked once."""

from __future__ import annotations

import math
from typing import Any, Final

from msgspec import Struct

from treadle.broker.url import BrokerUrl
from treadle.errors import ConfigurationError

OPTIONS: Final = ("timeout", "ca", "cert", "key")
_TIMEOUT_S: Final = 5.0
_PORT: Final = 6379


class Address(Struct, frozen=True, kw_only=True):
    """A server, a database on it, and how long to wait for it."""

    shown: str
    """The URL as it may be printed."""
    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    namespace: str
    timeout_s: float
    """How long one call may take before the server counts as away."""
    tls: bool
    ca: str | None
    cert: str | None
    key: str | None

    def arguments(self) -> dict[str, Any]:
        """Return what redis-py's connection wants to know."""
        found: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.database,
            "username": self.username,
            "password": self.password,
            "socket_connect_timeout": self.timeout_s,
        }
        if self.tls:
            found |= {"ssl_ca_certs": self.ca, "ssl_certfile": self.cert, "ssl_keyfile": self.key}
        return found


def read(url: BrokerUrl) -> Address:
    """Read a broker URL.

    Raises:
        ConfigurationError: if the database or an option cannot be used.
    """
    url.refuse_unknown(OPTIONS)
    if url.path and not (url.path.isascii() and url.path.isdecimal()):
        raise ConfigurationError(f"{url}: the database is a number, as in redis://host:6379/0")
    tls = url.scheme == "rediss"
    if not tls and any(name in url.options for name in ("ca", "cert", "key")):
        raise ConfigurationError(f"{url}: ca, cert and key are options of rediss:// only")
    return Address(
        shown=str(url),
        host=url.host or "localhost",
        port=url.port or _PORT,
        database=int(url.path or "0"),
        username=url.username or None,
        password=url.password or None,
        namespace=url.namespace,
        timeout_s=_seconds(url),
        tls=tls,
        ca=url.options.get("ca"),
        cert=url.options.get("cert"),
        key=url.options.get("key"),
    )


def _seconds(url: BrokerUrl) -> float:
    try:
        seconds = float(url.option("timeout", str(_TIMEOUT_S)))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 3_600:
        raise ConfigurationError(f"{url}: timeout is a number of seconds, above 0")
    return seconds
