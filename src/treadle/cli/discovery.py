"""Which `Jobs` object a command works with, and how it is found.

Argument `module:attribute` > QRUN_APP > `app` of [tool.treadle] > the one `Jobs` object in
jobs.py, app.py or main.py of this folder. The folder goes on `sys.path`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from treadle.app import Jobs
from treadle.errors import AppNotFound, TreadleError
from treadle.settings import Settings

FILES = ("jobs.py", "app.py", "main.py")


class App(Struct, frozen=True):
    """A `Jobs` object and the name under which another process finds it."""

    name: str
    """`module:attribute`."""
    jobs: Jobs
    origin: str
    """Who said so."""


def load_app(
    settings: Settings, argument: str | None, *, folder: Path, say: Callable[[str], None]
) -> App:
    """Find and import the app of a command; `say` is told what was picked if nobody named it.

    Raises:
        AppNotFound: if there is none, or it cannot be imported; tells what was tried.
    """
    app = find_app(settings, argument, folder=folder)
    if app is None:
        tried = ", ".join(FILES)
        raise AppNotFound(
            f"no app: none was named, and there is no Jobs object in {tried} of {folder}.\n"
            "Name one: `qrun worker module:attribute`, QRUN_APP, or app in [tool.treadle]."
        )
    if app.origin in FILES:
        say(f"Using {app.name} (found in {app.origin}).")
    return app


def find_app(settings: Settings, argument: str | None, *, folder: Path) -> App | None:
    """Find the app and put it under these settings.

    None if nobody named one and no file of this folder holds one.

    Raises:
        AppNotFound: if one was named or found that cannot be used.
    """
    app = _found(settings, argument, folder)
    if app is not None:
        app.jobs.use_settings(settings)
        app.jobs.load_plugins()
    return app


def _found(settings: Settings, argument: str | None, folder: Path) -> App | None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if argument:
        return _named(argument, "argument")
    if settings.app:
        return _named(settings.app, settings.origin("app"))
    for name in FILES:
        if (folder / name).is_file():
            module = _import(name.removesuffix(".py"), name)
            found = _objects(module)
            if found:
                return _only(module, found, name)
    return None


def _named(name: str, origin: str) -> App:
    module_name, colon, attribute = name.partition(":")
    if not module_name or (colon and not attribute):
        raise AppNotFound(f"{name!r} ({origin}) names no app: write module:attribute")
    module = _import(module_name, origin)
    if not colon:
        found = _objects(module)
        if not found:
            raise AppNotFound(f"module {module_name} ({origin}) has no Jobs object")
        return _only(module, found, origin)
    value: object = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, Jobs):
        there = ", ".join(f"{module_name}:{name}" for name in _objects(module)) or "none"
        what = "is no Jobs object" if value is not None else "does not exist"
        raise AppNotFound(f"{name} ({origin}) {what}. Jobs objects there: {there}")
    return App(name, value, origin)


def _only(module: ModuleType, found: dict[str, Jobs], origin: str) -> App:
    if len({id(jobs) for jobs in found.values()}) > 1:
        names = ", ".join(f"{module.__name__}:{name}" for name in found)
        raise AppNotFound(f"several Jobs objects in {origin}: {names}. Name the one you mean.")
    name, jobs = next(iter(found.items()))
    return App(f"{module.__name__}:{name}", jobs, origin)


def _objects(module: ModuleType) -> dict[str, Jobs]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Jobs)}


def _import(name: str, origin: str) -> ModuleType:
    try:
        return import_module(name)
    except TreadleError:
        raise
    except (Exception, SystemExit) as error:
        where = _place(error)
        raise AppNotFound(
            f"cannot import {name} ({origin}): {type(error).__name__}: {error}{where}"
        ) from error


def _place(error: BaseException) -> str:
    """Tell the line of the user's code at which an import failed."""
    frames = traceback.extract_tb(error.__traceback__)
    real = [frame for frame in frames if not frame.filename.startswith("<")]
    # The first two are this file and importlib.
    return f"\nat {real[-1].filename}:{real[-1].lineno}" if len(real) > 2 else ""
