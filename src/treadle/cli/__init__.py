"""The command `qrun`: its argument tree, and one file for each group of commands.

`main` is loaded when it is first used: a worker process imports the demo's app without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.cli.root import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    if name != "main":
        raise AttributeError(f"module 'treadle.cli' has no attribute {name!r}")
    from treadle.cli.root import main as found  # noqa: PLC0415 - loads click

    return found
