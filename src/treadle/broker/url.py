"""Broker URLs: parsed once, printed without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from treadle.errors import ConfigurationError

DEFAULT_NAMESPACE = "treadle"
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BrokerUrl(Struct, frozen=True, kw_only=True):
    """A parsed broker URL. `str()` masks user and password; `raw` is the URL as given."""

    raw: str
    scheme: str
    host: str = ""
    port: int | None = None
    username: str = ""
    password: str = ""
    path: str = ""
    """What stands behind the host, without the first slash: `sqlite:///jobs.db` has `jobs.db`."""
    namespace: str = DEFAULT_NAMESPACE
    options: Mapping[str, str] = {}
    """The rest of the query, as text."""

    def __str__(self) -> str:
        return masked(self.raw)

    def __repr__(self) -> str:
        return f"BrokerUrl({masked(self.raw)!r})"

    def option(self, name: str, default: str, allowed: tuple[str, ...] = ()) -> str:
        """Return an option of the query, checked against the values it may have.

        Raises:
            ConfigurationError: if the value is not one of `allowed`.
        """
        value = self.options.get(name, default)
        if allowed and value not in allowed:
            raise ConfigurationError(
                f"{self}: option {name}={value!r} is not one of {', '.join(allowed)}"
            )
        return value

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Refuse options that the broker does not know, so that a typo is never silent.

        Raises:
            ConfigurationError: naming the option and the known ones.
        """
        for name in self.options:
            if name not in known:
                listed = ", ".join(sorted((*known, "namespace")))
                raise ConfigurationError(f"{self}: unknown option {name!r}. Known: {listed}")


# A password that should have been quoted may hold slashes: what stands behind a colon goes up to the last @.
_LOGIN = re.compile(r"""(?<=://)(?:[^/\s:@"']*:(?:(?!://)[^\s"'])*@|[^/\s]*@)""")
_SECRET_OPTION = re.compile(
    r"(?i)([?&][\w-]*(?:password|passwd|secret|token|api_?key)[\w-]*=)[^&#\s\"']+"
)


def masked(url: str) -> str:
    """Return `url` with user, password and options that hold secrets replaced by stars."""
    return _SECRET_OPTION.sub(r"\1***", _LOGIN.sub("***@", url))


def parse(url: str) -> BrokerUrl:
    """Parse a broker URL.

    Raises:
        ConfigurationError: if it has no scheme, or its port or namespace cannot be read.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # what it says may hold the password
        raise ConfigurationError(
            f"cannot read the broker URL {masked(url)!r}: behind the host stands a port up to 65535,"
            " if any; in a password / ? # @ : are written %2F %3F %23 %40 %3A"
        ) from None
    if not parts.scheme or "://" not in url:
        raise ConfigurationError(
            f"{masked(url)!r} is no broker URL. Examples: sqlite:///jobs.db, memory://, redis://host"
        )
    if "#" in url:
        raise ConfigurationError(f"cannot read the broker URL {masked(url)!r}: write # as %23")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    namespace = options.pop("namespace", DEFAULT_NAMESPACE)
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(f"namespace {namespace!r}: letters, digits, _ and - only, 1 to 64")
    return BrokerUrl(
        raw=url,
        scheme=parts.scheme.lower(),
        host=parts.hostname or "",
        port=port,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        path=unquote(parts.path.removeprefix("/")),
        namespace=namespace,
        options=options,
    )


def with_namespace(url: str, namespace: str) -> str:
    """Return `url` with another namespace."""
    base, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("namespace=")]
    return base + "?" + "&".join([*kept, f"namespace={namespace}"])
