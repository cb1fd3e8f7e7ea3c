"""Handlers from a plugin: `greet` and `count`, registered with every application that allows it."""

from __future__ import annotations

from msgspec import Struct

from treadle import Context, Handlers, Jobs, hookimpl
from treadle.settings import Settings

handlers = Handlers()


class Wording(Struct, kw_only=True, forbid_unknown_fields=True):
    """The settings `[tool.treadle.plugin.greetings]`."""

    word: str = "Hello"


_wording = Wording()


@handlers.handler("greetings.greet", retry=2)
async def greet(name: str) -> str:
    """Greet somebody."""
    return f"{_wording.word}, {name}!"


@handlers.handler("greetings.count")
def count(ctx: Context, names: list[str]) -> int:
    """Count names, and tell how far it is."""
    for number, name in enumerate(names, 1):
        ctx.progress(number, len(names), name)
    return len(names)


@hookimpl
def treadle_configure(settings: Settings) -> None:
    """Read the plugin's own table of the settings."""
    global _wording  # noqa: PLW0603 - set once, when the process starts
    _wording = settings.section("greetings", Wording)


@hookimpl
def treadle_register(jobs: Jobs) -> None:
    """Hand the handlers to the application."""
    jobs.include(handlers)
