"""The plugins of one process: which may load, which did, and the calls of their hooks."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

import pluggy
from msgspec import Struct

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl, parse
from treadle.errors import BrokerMissing, ConfigurationError, PluginError, TreadleError
from treadle.plugins.catalog import BROKERS, PLUGINS, Found, catalog, meant, missing_broker
from treadle.plugins.checks import check, new_manager, register

if TYPE_CHECKING:
    from treadle.profile import Profile
    from treadle.runtime.registry import Registry
    from treadle.settings import Settings

logger = logging.getLogger("treadle.plugins")

SLOW_IMPORT_S: Final = 5.0
_PROFILES: Final = (
    "Five come with: pip install treadle-profiles"
    " (from a checkout: pip install -e plugins/treadle-profiles)"
)


class Status(StrEnum):
    """What became of an installed plugin."""

    LOADED = "loaded"
    AVAILABLE = "available"
    """A broker that loads when its scheme is used."""
    NOT_ENABLED = "found, not loaded"
    DISABLED = "disabled"
    FAILED = "failed"


class PluginInfo(Struct, frozen=True, kw_only=True):
    """One installed plugin, as `qrun plugins` shows it."""

    name: str
    group: str
    distribution: str
    version: str
    origin: str
    """The module that its entry point names."""
    status: Status
    hooks: tuple[str, ...] = ()
    """What it implements; known once it is loaded."""
    detail: str = ""
    """Why it failed, or the line that enables it."""


class Plugins:
    """Loads plugins on demand; one object for each `Jobs`, made without touching anything."""

    def __init__(
        self,
        *,
        allowed: Sequence[str] | None = None,
        disabled: Sequence[str] = (),
        trace: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._disabled = frozenset(disabled)
        self._trace = trace
        self._monotonic = monotonic
        self._manager = new_manager()
        self._brokers: dict[str, pluggy.PluginManager] = {}
        self._hooks: dict[tuple[str, str], tuple[str, ...]] = {}
        self._failures: dict[tuple[str, str], PluginError] = {}
        self._order: list[tuple[Found, object]] = []
        self._loaded = False

    @classmethod
    def of(cls, settings: Settings) -> Plugins:
        """Make the plugins that some settings allow."""
        return cls(
            allowed=settings.plugins,
            disabled=settings.disable_plugins,
            trace=settings.trace_plugins,
        )

    def make_broker(self, url: BrokerUrl | str, clock: Clock) -> Broker:
        """Make an unconnected broker for a URL; imports the plugin of that scheme, no other.

        Raises:
            BrokerMissing: if no plugin for the scheme is installed; says what to install.
            PluginError: if the plugin cannot be loaded or makes no broker.
        """
        parsed = parse(url) if isinstance(url, str) else url
        manager = self._brokers.get(parsed.scheme)
        if manager is None:
            manager = self._brokers[parsed.scheme] = self._broker_manager(parsed.scheme)
        try:
            made: object = manager.hook.treadle_broker(url=parsed, clock=clock)
        except TreadleError:
            raise
        except Exception as error:
            raise PluginError(_raised(f"{parsed.scheme!r}", "treadle_broker", error)) from error
        if made is None:
            raise PluginError(f"plugin {parsed.scheme!r} made no broker for {parsed}")
        return cast("Broker", made)

    def load(self) -> None:
        """Load the plugins that may load, once.

        Raises:
            PluginError: naming the first one that is not installed, fails or does not fit.
        """
        self._load_all()
        for failure in self._failures.values():
            raise failure

    def configure(self, settings: Settings) -> None:
        """Let plugins look at the settings.

        Raises:
            PluginError: naming a plugin that raised.
        """
        self._call("treadle_configure", settings=settings)

    def register(self, jobs: Registry) -> None:
        """Let plugins register handlers and middleware, in the order in which they were loaded.

        Raises:
            PluginError: naming a plugin that raised.
        """
        self._call("treadle_register", jobs=jobs)

    def extend_cli(self, group: object) -> None:
        """Let plugins add commands to a click group.

        Raises:
            PluginError: naming a plugin that raised.
        """
        self._call("treadle_cli", group=group)

    def extend_web(self, app: object) -> None:
        """Let plugins add routes to the HTTP interface.

        Raises:
            PluginError: naming a plugin that raised.
        """
        self._call("treadle_web", app=app)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name.

        Raises:
            ConfigurationError: if no plugin has it; names those that there are.
            PluginError: naming a plugin that raised.
        """
        told: list[Sequence[Profile]] = self._call("treadle_profiles")
        known = {one.name: one for some in reversed(told) for one in reversed(some)}
        if name not in known:
            listed = ", ".join(sorted(known)) or f"none. {_PROFILES}"
            raise ConfigurationError(
                f"no profile {name!r}.{meant(name, known)} Known: {listed} - at `$.profile`"
            )
        return known[name]

    def installed(self) -> list[PluginInfo]:
        """Describe every installed plugin, also those that failed or may not load."""
        self._load_all()
        return [self._info(found) for found in catalog(BROKERS, PLUGINS)]

    def _load_all(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for found in self._wanted():
            key = (PLUGINS, found.name)
            try:
                plugin = self._import(found)
                self._hooks[key] = register(self._manager, found, plugin)
                self._order.append((found, plugin))
                self._say(f"loaded {found}: {', '.join(self._hooks[key])}")
            except PluginError as error:
                self._failures[key] = error

    def _wanted(self) -> list[Found]:
        """Choose what loads, and in which order."""
        found = [item for item in catalog(PLUGINS) if item.name not in self._disabled]
        if self._allowed is None:
            return [item for item in found if item.is_first_party]
        wanted: list[Found] = []
        for name in self._allowed:
            named = [item for item in found if item.name == name]
            if len(named) == 1:
                wanted += named
            elif name not in self._disabled:
                self._failures[PLUGINS, name] = PluginError(_not_one(name, named, found))
        return wanted

    def _broker_manager(self, scheme: str) -> pluggy.PluginManager:
        brokers = [item for item in catalog(BROKERS) if item.name not in self._disabled]
        named = [item for item in brokers if item.name == scheme]
        if not named:
            known = sorted({item.name for item in brokers})
            raise BrokerMissing(missing_broker(scheme, known, sorted(self._disabled)))
        if len(named) > 1:
            raise PluginError(_not_one(scheme, named, brokers))
        manager = new_manager()
        (found,) = named
        started = self._monotonic()
        try:
            manager.load_setuptools_entrypoints(BROKERS, name=scheme)
        except pluggy.PluginValidationError as error:
            check(manager, found, error.plugin)
            raise PluginError(f"plugin {found}: {error}") from error
        except (Exception, SystemExit) as error:
            raise PluginError(_not_imported(found, error)) from error
        self._warn_if_slow(found, started)
        self._hooks[BROKERS, scheme] = check(manager, found, manager.get_plugin(scheme))
        self._say(f"loaded {found}: {', '.join(self._hooks[BROKERS, scheme])}")
        return manager

    def _import(self, found: Found) -> object:
        started = self._monotonic()
        try:
            return cast("object", found.entry.load())
        except (Exception, SystemExit) as error:
            raise PluginError(_not_imported(found, error)) from error
        finally:
            self._warn_if_slow(found, started)

    def _warn_if_slow(self, found: Found, started: float) -> None:
        seconds = self._monotonic() - started
        if seconds > SLOW_IMPORT_S:
            logger.warning(
                "plugin_slow",
                extra={
                    "plugin": found.name,
                    "distribution": found.distribution,
                    "seconds": seconds,
                },
            )

    def _call(self, hook: str, **arguments: Any) -> list[Any]:
        self.load()
        told: list[Any] = []
        plugins = [plugin for _, plugin in self._order]
        for found, plugin in self._order:
            if hook not in self._hooks[PLUGINS, found.name]:
                continue
            self._say(f"calling {hook} of {found.name}")
            others = [other for other in plugins if other is not plugin]
            try:
                told += self._manager.subset_hook_caller(hook, others)(**arguments)
            except Exception as error:
                raise PluginError(_raised(str(found), hook, error)) from error
        return told

    def _info(self, found: Found) -> PluginInfo:
        key = (found.group, found.name)
        hooks = self._hooks.get(key, ())
        failure = self._failures.get(key)
        detail = ""
        if found.name in self._disabled:
            status = Status.DISABLED
        elif failure is not None:
            status, detail = Status.FAILED, str(failure)
        elif hooks:
            status = Status.LOADED
        elif found.group == BROKERS:
            status = Status.AVAILABLE
        else:
            status, detail = Status.NOT_ENABLED, self._enabling_line(found)
        return PluginInfo(
            name=found.name,
            group=found.group,
            distribution=found.distribution,
            version=found.version,
            origin=found.entry.value,
            status=status,
            hooks=hooks,
            detail=detail,
        )

    def _enabling_line(self, found: Found) -> str:
        names = self._allowed
        if names is None:
            names = [item.name for item in catalog(PLUGINS) if item.is_first_party]
        listed = ", ".join(f'"{name}"' for name in (*names, found.name))
        return f"plugins = [{listed}]"

    def _say(self, text: str) -> None:
        if self._trace:
            sys.stderr.write(f"plugins: {text}\n")


def make_broker(url: BrokerUrl | str, clock: Clock, *, disabled: Sequence[str] = ()) -> Broker:
    """Make an unconnected broker for a URL: `Plugins.make_broker` for one use."""
    return Plugins(disabled=disabled).make_broker(url, clock)


def _raised(plugin: str, hook: str, error: Exception) -> str:
    return f"plugin {plugin} raised in {hook}: {type(error).__name__}: {error}"


def _not_imported(found: Found, error: BaseException) -> str:
    return (
        f"plugin {found} cannot be imported: {type(error).__name__}: {error}. "
        f"Mend it, uninstall it, or leave it out: QRUN_DISABLE_PLUGINS={found.name}"
    )


def _not_one(name: str, named: Sequence[Found], found: Sequence[Found]) -> str:
    if named:
        who = " and ".join(sorted(item.distribution for item in named))
        return f"plugin {name!r} is supplied by {who}: uninstall one of them"
    known = sorted(item.name for item in found)
    return (
        f"plugin {name!r} is allowed by the setting `plugins`, but not installed."
        f"{meant(name, known)} Installed: {', '.join(known) or 'none'}"
    )
