"""Where a NATS broker lives: what its URL means in servers, streams and subjects."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.broker.url import BrokerUrl
from treadle.errors import ConfigurationError

_OPTIONS: Final = (
    *("ca", "cert", "key", "creds", "domain", "prefix", "servers", "timeout_ms"),
    *("replicas", "storage", "max_bytes", "log_bytes", "sync", "time", "leave"),
)
_PORT: Final = 4222
_MOST_BYTES: Final = 2**50
_SUBJECT: Final = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_PLACE: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]/@:,]+)(:(?P<port>\d{1,5}))?")
_LOCAL: Final = re.compile(r"//(127\.[\d.]+|localhost|\[::1\]):")


class Address(Struct, frozen=True, kw_only=True):
    """One namespace on one server or cluster."""

    shown: str
    """The URL as it may be printed."""
    namespace: str
    servers: tuple[str, ...]
    username: str = ""
    password: str = ""
    token: str = ""
    creds: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    api: str = "$JS.API"
    """What the subjects of JetStream's own requests begin with."""
    timeout_ms: int = 5_000
    """How long a call waits for the server; less than the server remembers what is sent again."""
    replicas: int = 1
    storage: str = "file"
    max_bytes: int = -1
    log_bytes: int = 16 * 1024 * 1024
    """How long the log may grow, beside what it takes to tell how things stand, before it is cut."""
    synced: bool = False
    """The user says that the server syncs each write (`sync_interval: always`)."""
    client_time: bool = False
    """Time comes from the clocks of clients: for tests that move time."""

    leave: bool = True
    """Who ends leaves its tables for the next process of its user on this machine, which takes them."""

    @property
    def stream(self) -> str:
        """Return the name of the stream that holds the log."""
        return f"TREADLE_LOG_{self.namespace}"

    @property
    def shelf(self) -> str:
        """Return the name of the stream that holds the snapshots of the log."""
        return f"TREADLE_SNAP_{self.namespace}"

    @property
    def is_local(self) -> bool:
        """Tell whether nobody else can hear what is sent."""
        return all(_LOCAL.search(server) for server in self.servers)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return how the server is verified; None if the connection is in the clear.

        Raises:
            ConfigurationError: if a file that the URL names cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{self.shown}: cannot use its certificates: {error}"
            ) from error
        return context


def locate(url: BrokerUrl) -> Address:
    """Read a `nats://` or `tls://` URL.

    Raises:
        ConfigurationError: if an option cannot be read.
    """
    url.refuse_unknown(_OPTIONS)
    if url.path:
        raise ConfigurationError(f"{url}: a NATS URL has no path; use ?namespace=... to keep apart")
    tls = url.scheme == "tls" or any(name in url.options for name in ("ca", "cert", "key"))
    if "key" in url.options and "cert" not in url.options:
        raise ConfigurationError(f"{url}: key belongs to a certificate: give cert as well")
    if url.password and not url.username:
        raise ConfigurationError(f"{url}: a password belongs to a user; a token stands alone")
    if url.username and "creds" in url.options:
        raise ConfigurationError(f"{url}: a user or token in front of the host, or creds, not both")
    hosts = [f"{_host(url.host)}:{url.port or _PORT}", *_listed(url)]
    has_both = bool(url.password)
    return Address(
        shown=str(url),
        namespace=url.namespace,
        servers=tuple(f"{'tls' if tls else 'nats'}://{host}" for host in hosts),
        username=url.username if has_both else "",
        password=url.password,
        token="" if has_both else url.username,
        creds=_file(url, "creds"),
        tls=tls,
        ca=_file(url, "ca"),
        cert=_file(url, "cert"),
        key=_file(url, "key"),
        api=_api(url),
        timeout_ms=_number(url, "timeout_ms", 5_000, 100, 60_000),
        replicas=int(url.option("replicas", "1", ("1", "3", "5"))),
        storage=url.option("storage", "file", ("file", "memory")),
        max_bytes=_number(url, "max_bytes", -1, 1_048_576),
        log_bytes=_number(url, "log_bytes", 16 * 1024 * 1024, 65_536),
        synced=url.option("sync", "default", ("default", "always")) == "always",
        client_time=url.option("time", "server", ("server", "client")) == "client",
        leave=url.option("leave", "yes", ("yes", "no")) == "yes",
    )


def _api(url: BrokerUrl) -> str:
    """Return what JetStream's own subjects begin with: another domain, or another account."""
    domain, prefix = url.option("domain", ""), url.option("prefix", "")
    if domain and prefix:
        raise ConfigurationError(f"{url}: domain or prefix, not both")
    api = prefix or (f"$JS.{domain}.API" if domain else "$JS.API")
    if not _SUBJECT.fullmatch(api) or "." in domain:
        raise ConfigurationError(f"{url}: {domain or prefix!r} cannot be part of a subject")
    return api


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host or "127.0.0.1"


def _listed(url: BrokerUrl) -> list[str]:
    hosts: list[str] = []
    for text in filter(None, map(str.strip, url.option("servers", "").split(","))):
        found = _PLACE.fullmatch(text)
        port = int(found["port"] or _PORT) if found else 0
        if not found or not 0 < port < 65_536:
            raise ConfigurationError(f"{url}: servers is a list like b:{_PORT},c:{_PORT}")
        hosts.append(f"{found['host']}:{port}")
    return hosts


def _file(url: BrokerUrl, name: str) -> str:
    path = url.option(name, "")
    if path and not Path(path).is_file():
        raise ConfigurationError(f"{url}: option {name}: there is no file {path!r}")
    return path


def _number(url: BrokerUrl, name: str, default: int, least: int, most: int = _MOST_BYTES) -> int:
    text = url.options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise ConfigurationError(f"{url}: option {name}={text!r}: a number from {least} to {most}")
    return int(text)
