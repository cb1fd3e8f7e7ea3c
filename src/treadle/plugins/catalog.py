"""What is installed, read from metadata alone: nothing is imported here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, distributions
from types import MappingProxyType
from typing import Final

from msgspec import Struct

BROKERS: Final = "treadle.brokers"
PLUGINS: Final = "treadle"

FIRST_PARTY: Final[Mapping[str, str]] = MappingProxyType(
    {"web": "treadle-web", "profiles": "treadle-profiles"}
)
"""Entry point and distribution of the plugins that load unasked: a list, never a name prefix."""

SCHEMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "memory": "treadle",
        "sqlite": "treadle",
        "redis": "treadle-redis",
        "rediss": "treadle-redis",
        "redis+cluster": "treadle-redis",
        "rediss+cluster": "treadle-redis",
        "redis+sentinel": "treadle-redis",
        "rediss+sentinel": "treadle-redis",
        "valkey": "treadle-redis",
        "valkey+cluster": "treadle-redis",
        "nats": "treadle-nats",
        "tls": "treadle-nats",
    }
)
"""The distribution that supplies the broker of each scheme that we know."""


class Found(Struct, frozen=True, kw_only=True):
    """An entry point of one of our groups, and the distribution that brings it."""

    name: str
    group: str
    entry: EntryPoint
    distribution: str
    version: str

    @property
    def is_first_party(self) -> bool:
        """Tell whether both the name and the distribution are ours."""
        known = SCHEMES if self.group == BROKERS else FIRST_PARTY
        return known.get(self.name) == normal(self.distribution)

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution} {self.version}, {self.entry.value})"


def normal(name: str) -> str:
    """Write the name of a distribution in the way in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def catalog(*groups: str) -> list[Found]:
    """List the entry points of some groups, by group and name; the first distribution of a name counts."""
    found: dict[tuple[str, str, str], Found] = {}
    for distribution in distributions():
        entries = [entry for entry in distribution.entry_points if entry.group in groups]
        if not entries:
            continue
        name = distribution.metadata["Name"] or "(unnamed)"
        for entry in entries:
            item = Found(
                name=entry.name,
                group=entry.group,
                entry=entry,
                distribution=name,
                version=distribution.version,
            )
            found.setdefault((entry.group, entry.name, normal(name)), item)
    return [found[key] for key in sorted(found)]


def meant(word: str, known: Iterable[str]) -> str:
    """Ask ` Did you mean 'x'?` if a known word is close, else return nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def missing_broker(scheme: str, installed: Sequence[str], disabled: Sequence[str]) -> str:
    """Say that no plugin supplies this scheme, what there is, and what to install.

    A distribution is named only for a scheme that we know: who asks for `acme://` shall not be led
    to install whatever somebody published as `treadle-acme`.
    """
    text = f"No broker for '{scheme}://'."
    if scheme in disabled:
        return f"{text} Its plugin is switched off: take {scheme!r} out of QRUN_DISABLE_PLUGINS."
    likely = "" if scheme in SCHEMES else meant(scheme, {*SCHEMES, *installed})
    text += f"{likely} Installed: {', '.join(installed) or 'none'}."
    close = difflib.get_close_matches(scheme, SCHEMES, n=1)
    wanted = SCHEMES[close[0]] if close and close[0] not in installed else ""
    if wanted == "treadle":
        return text + " It belongs to treadle itself: install it again with: pip install treadle"
    if wanted:
        text += (
            f" Install it with: pip install {wanted}"
            f" (from a checkout: pip install -e plugins/{wanted})"
        )
    if not likely and not close:
        text += f"{_installable(installed)} Any other comes with a plugin that supplies {scheme!r}."
    return text


def _installable(installed: Sequence[str]) -> str:
    """Name the known schemes that are not installed, by the line that installs them."""
    schemes: dict[str, list[str]] = {}
    for scheme in sorted(SCHEMES.keys() - set(installed)):
        schemes.setdefault(SCHEMES[scheme], []).append(scheme)
    lines = [f"{', '.join(names)} (pip install {name})" for name, names in sorted(schemes.items())]
    return f" To be had: {'; '.join(lines)}." if lines else ""
