"""The command `qrun`: its argument tree, and one file for each group of commands."""

from __future__ import annotations

from treadle.cli.root import main

__all__ = ["main"]
