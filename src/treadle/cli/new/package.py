"""Packages from templates: files in which the name `acme` stands for the one that was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from treadle.errors import ConfigurationError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX: Final = ".txt"
"""Templates are no Python files, so that nothing takes them for ours."""
_PACKAGE: Final = "package"
"""The folder that gets the name of the module."""


def write(kind: str, name: str, into: Path) -> list[Path]:
    """Write the package of a kind into a new folder; return its files.

    Raises:
        ConfigurationError: if the name cannot be one, or the folder is there already.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name for a package: small letters and digits, parts joined by '-'"
        )
    folder = into / f"treadle-{name}"
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already: name another, or remove it")
    template = resources.files("treadle.cli.new").joinpath("templates", kind)
    written: list[Path] = []
    for parts, text in sorted(_files(template, ())):
        path = folder.joinpath(*(_module(name) if part == _PACKAGE else part for part in parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(named(text, name), encoding="utf-8")
        written.append(path)
    return written


def named(text: str, name: str) -> str:
    """Put a name in the place of `acme`: as a module, as a class, and as itself."""
    title = "".join(part.capitalize() for part in name.split("-"))
    return text.replace("treadle_acme", _module(name)).replace("Acme", title).replace("acme", name)


def _module(name: str) -> str:
    return f"treadle_{name.replace('-', '_')}"


def _files(folder: Traversable, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every file of a template: where it goes, and what is in it."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, (*above, entry.name))
        elif entry.name.endswith(_SUFFIX):
            parts = (*above, entry.name.removesuffix(_SUFFIX))
            yield parts, entry.read_text(encoding="utf-8")
