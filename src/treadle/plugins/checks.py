"""Check a plugin before it may take part: what pluggy finds wrong, told as one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pluggy

from treadle import hooks
from treadle.errors import PluginError
from treadle.plugins.catalog import Found, meant

_SPECS = {
    name: tuple(inspect.signature(value).parameters)
    for name, value in vars(hooks).items()
    if name.startswith(f"{hooks.PROJECT}_") and inspect.isfunction(value)
}
"""The hooks that exist, and the arguments of each."""


def new_manager() -> pluggy.PluginManager:
    """Make a plugin manager that knows our hooks and no plugin."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    return manager


def register(manager: pluggy.PluginManager, found: Found, plugin: object) -> tuple[str, ...]:
    """Register a loaded plugin and return the names of its hooks.

    Raises:
        PluginError: if it was made for another version, has no hook, one that does not exist, or
            one whose arguments do not fit.
    """
    names = check(manager, found, plugin)
    try:
        manager.register(plugin, found.name)
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(f"plugin {found}: {error}") from error
    return names


def check(manager: pluggy.PluginManager, found: Found, plugin: object) -> tuple[str, ...]:
    """Return the names of a plugin's hooks, or refuse it.

    Raises:
        PluginError: naming the plugin, the hook and what was probably meant.
    """
    wanted = getattr(plugin, "TREADLE_API", hooks.API_VERSION)
    if wanted != hooks.API_VERSION:
        raise PluginError(
            f"plugin {found} was made for version {wanted!r} of the hooks; "
            f"this Treadle has version {hooks.API_VERSION}. Install versions that fit together."
        )
    implemented = list(_implementations(manager, plugin))
    if not implemented:
        unmarked = [name for name in _SPECS if callable(getattr(plugin, name, None))]
        hint = f" Is @hookimpl missing on {', '.join(unmarked)}?" if unmarked else ""
        raise PluginError(f"plugin {found} has no hooks.{hint}")
    for name, arguments in implemented:
        if name not in _SPECS:
            known = ", ".join(sorted(_SPECS))
            raise PluginError(
                f"plugin {found}: there is no hook {name!r}.{meant(name, _SPECS)} Hooks: {known}"
            )
        for argument in arguments:
            if argument not in _SPECS[name]:
                raise PluginError(
                    f"plugin {found}: hook {name} has no argument {argument!r}."
                    f"{meant(argument, _SPECS[name])} Arguments: {', '.join(_SPECS[name])}"
                )
    return tuple(sorted(name for name, _ in implemented))


def _implementations(
    manager: pluggy.PluginManager, plugin: object
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            parameters = inspect.signature(getattr(plugin, attribute)).parameters.values()
            names = (p.name for p in parameters if p.default is p.empty)
            yield options.get("specname") or attribute, tuple(names)
