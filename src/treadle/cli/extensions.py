"""What plugins add to the command, and which version of it this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from treadle.plugins import Plugins
from treadle.settings import load


def add_commands(group: click.Group) -> None:
    """Let every plugin that may load add its commands.

    Raises:
        PluginError: naming a plugin that could not be loaded.
    """
    plugins = Plugins.of(load())
    plugins.load()
    plugins.extend_cli(group)


def own_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("treadle")
    except PackageNotFoundError:
        return "0 (not installed)"
