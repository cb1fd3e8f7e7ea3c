"""Where the server is and how to speak to it: what a broker URL says, checked once."""

from __future__ import annotations

import math
import re
import ssl
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from treadle.broker.url import BrokerUrl
from treadle.errors import ConfigurationError

SENTINEL: Final = "+sentinel"
"""What a scheme ends with whose hosts are sentinels, and not servers."""
CLUSTER: Final = "+cluster"
"""What a scheme ends with whose hosts are nodes of a cluster."""
_OPTIONS: Final = ("timeout", "ca", "cert", "key", "password_file", "replicas")
_OF_SENTINELS: Final = ("db", "servers", "sentinel_user", "sentinel_password_file")
_MORE: Final = {"": (), CLUSTER: ("servers",), SENTINEL: _OF_SENTINELS}
_TIMEOUT_S: Final = 5.0
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_MOST_REPLICAS: Final = 5
_PLACE: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]:,]+)(:(?P<port>\d{1,5}))?")
_LOCAL: Final = re.compile(r"localhost|::1|127(\.\d+){3}")


class Place(Struct, frozen=True):
    """A host and a port that something listens on."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Tell whether nobody else can hear what is sent there."""
        return _LOCAL.fullmatch(self.host) is not None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Login(Struct, frozen=True, kw_only=True):
    """Who connects. A password in a file is read at each connect, so it may change."""

    user: str | None = None
    password: str | None = None
    file: str | None = None

    @property
    def has_password(self) -> bool:
        """Tell whether there is a password to show."""
        return bool(self.password or self.file)

    def arguments(self) -> dict[str, Any]:
        """Return what redis-py wants to know.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no text, or empty.
        """
        password = self.password
        if self.file:
            password = Path(self.file).read_text(encoding="utf-8").rstrip("\r\n")
            if not password:
                raise ValueError(f"{self.file} is empty")
        return {"username": self.user if password else None, "password": password}


class Address(Struct, frozen=True, kw_only=True):
    """A server, or the sentinels or nodes that know it, a database on it, and how long to wait for it."""

    shown: str
    """The URL as it may be printed."""
    place: Place
    """The server; the first sentinel or node, if there are any."""
    sentinels: tuple[Place, ...]
    nodes: tuple[Place, ...]
    """The nodes of the cluster that are asked, if the URL says that there is one."""
    service: str
    """What the sentinels call the primary."""
    database: int
    login: Login
    sentinel_login: Login
    namespace: str
    timeout_s: float
    """How long one call may take before the server counts as away."""
    replicas: int
    """How many replicas must have a write before it counts as done."""
    tls: bool
    ca: str | None
    cert: str | None
    key: str | None

    @property
    def is_local(self) -> bool:
        """Tell whether nobody else can hear what is sent."""
        return all(place.is_local for place in self.sentinels or self.nodes or (self.place,))

    def tls_context(self) -> ssl.SSLContext:
        """Return how the server is verified: `ca` takes the place of the system's authorities.

        Raises:
            OSError: if a file that the URL names cannot be used.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


def read(url: BrokerUrl) -> Address:
    """Read a broker URL.

    Raises:
        ConfigurationError: if a part of it or an option cannot be used.
    """
    base, plus, kind = url.scheme.partition("+")
    kind = plus + kind
    url.refuse_unknown((*_OPTIONS, *_MORE[kind]))
    tls = base == "rediss"
    if not tls and any(name in url.options for name in ("ca", "cert", "key")):
        secure = "rediss" + kind
        raise ConfigurationError(f"{url}: ca, cert and key are options of {secure}:// only")
    if "key" in url.options and "cert" not in url.options:
        raise ConfigurationError(f"{url}: key belongs to a certificate: give cert as well")
    if url.password and "password_file" in url.options:
        raise ConfigurationError(f"{url}: give a password or a password_file, not both")
    sentinels = _sentinels(url) if kind == SENTINEL else ()
    nodes = _nodes(url) if kind == CLUSTER else ()
    first = (*sentinels, *nodes, Place(url.host or "localhost", url.port or _PORT))[0]
    return Address(
        shown=str(url),
        place=first,
        sentinels=sentinels,
        nodes=nodes,
        service=url.path if sentinels else "",
        database=_database(url, url.options.get("db", "0") if kind else url.path or "0"),
        login=_login(url),
        sentinel_login=Login(
            user=url.options.get("sentinel_user"), file=url.options.get("sentinel_password_file")
        ),
        namespace=url.namespace,
        timeout_s=_seconds(url),
        replicas=_replicas(url),
        tls=tls,
        ca=url.options.get("ca"),
        cert=url.options.get("cert"),
        key=url.options.get("key"),
    )


def _login(url: BrokerUrl) -> Login:
    return Login(
        user=url.username or None,
        password=url.password or None,
        file=url.options.get("password_file"),
    )


def _sentinels(url: BrokerUrl) -> tuple[Place, ...]:
    if not url.path or "/" in url.path:
        raise ConfigurationError(
            f"{url}: behind the host stands the name that the sentinels give the primary,"
            f" as in {url.scheme}://host:26379/mymaster"
        )
    return _places(url, "sentinel", _SENTINEL_PORT)


def _nodes(url: BrokerUrl) -> tuple[Place, ...]:
    if url.path:
        raise ConfigurationError(
            f"{url}: nothing stands behind the hosts of a cluster, which has database 0 only"
        )
    return _places(url, "node", _PORT)


def _places(url: BrokerUrl, kind: str, usual: int) -> tuple[Place, ...]:
    if "," in url.host:
        raise ConfigurationError(
            f"{url}: one {kind} stands in front, further ones in ?servers=host:port,host:port"
        )
    places = [Place(url.host or "localhost", url.port or usual)]
    for text in filter(None, url.options.get("servers", "").split(",")):
        found = _PLACE.fullmatch(text)
        port = int(found["port"] or usual) if found else 0
        if not found or not 0 < port < 65_536:
            raise ConfigurationError(f"{url}: servers is a list like b:{usual},c:{usual}")
        places.append(Place(found["host"].strip("[]"), port))
    return tuple(dict.fromkeys(places))


def _database(url: BrokerUrl, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        example = f"{url.scheme}://host:26379/mymaster?db=0" if SENTINEL in url.scheme else ""
        raise ConfigurationError(
            f"{url}: the database is a number, as in {example or 'redis://host:6379/0'}"
        )
    return int(text)


def _seconds(url: BrokerUrl) -> float:
    try:
        seconds = float(url.option("timeout", str(_TIMEOUT_S)))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 3_600:
        raise ConfigurationError(f"{url}: timeout is a number of seconds, above 0")
    return seconds


def _replicas(url: BrokerUrl) -> int:
    text = url.option("replicas", "0")
    if not (text.isascii() and text.isdecimal() and int(text) <= _MOST_REPLICAS):
        raise ConfigurationError(f"{url}: replicas is a number, 0 to {_MOST_REPLICAS}")
    return int(text)
