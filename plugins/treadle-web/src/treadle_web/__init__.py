"""The HTTP interface of Treadle: an ASGI application, and the command `qrun web`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from treadle_web.app import create_app
    from treadle_web.guard import Access, access
    from treadle_web.web import Limits

hookimpl = pluggy.HookimplMarker("treadle")


@hookimpl
def treadle_cli(group: click.Group) -> None:
    """Add `qrun web` and `qrun token`."""
    from treadle_web.command import COMMANDS  # noqa: PLC0415 - loaded when the command line is read

    for command in COMMANDS:
        group.add_command(command)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'treadle_web' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


_HOME = {
    "Access": "treadle_web.guard",
    "access": "treadle_web.guard",
    "Limits": "treadle_web.web",
    "create_app": "treadle_web.app",
}

__all__ = ["Access", "Limits", "access", "create_app", "treadle_cli"]
