"""What a plugin may implement. Hooks run when a process starts, never per job.

A plugin is a module named by an entry point. Group `treadle.brokers`: the entry point's name is
a URL scheme, and the module implements `treadle_broker`; it is loaded only when that scheme is used. Group
`treadle`: the module implements any of the other hooks. What shall run around every job is
middleware: a plugin hands it to `jobs.use` in `treadle_register`.

    from treadle import Jobs, hookimpl

    @hookimpl
    def treadle_register(jobs: Jobs) -> None:
        jobs.include(handlers)
        jobs.use(timing)

A hook may leave out arguments that it does not need. Hooks are called in the order in which the plugins
were loaded: that of the setting `plugins`, else that of the first-party list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from treadle.broker.base import Broker, Clock
    from treadle.broker.url import BrokerUrl
    from treadle.profile import Profile
    from treadle.runtime.registry import Registry
    from treadle.settings import Settings

PROJECT: Final = "treadle"
API_VERSION: Final = 1
"""Grows when a hook changes so that old plugins break; a module may name its own as `TREADLE_API`."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker | None:
    """Make an unconnected broker for a URL of the scheme that the entry point is named after.

    Called each time that a process needs a broker; it must not connect yet. `clock` is to be used by
    stores that have no clock of their own. Since 0.1.
    """


@hookspec
def treadle_configure(settings: Settings) -> None:
    """Look at the settings before anything else happens, and raise if they cannot work.

    Called once for each `Jobs` object. `settings.section(name, Type)` reads the plugin's own table
    `[tool.treadle.plugin.<name>]`. Since 0.1.
    """


@hookspec
def treadle_register(jobs: Registry) -> None:
    """Register handlers and middleware: `jobs.include(group)`, `jobs.use(middleware)`.

    Called once for each `Jobs` object, after `treadle_configure`. Since 0.1.
    """


@hookspec
def treadle_cli(group: click.Group) -> None:
    """Add commands to `qrun`.

    Called when the command line is read by a command that plugins can add to. Since 0.1.
    """


@hookspec
def treadle_web(app: object) -> None:
    """Add routes to the HTTP interface; `app` is its Starlette application.

    Called once, before it serves. Since 0.1.
    """


@hookspec
def treadle_profiles() -> Sequence[Profile]:
    """Return the contracts of other services that this plugin can serve (`treadle.profile`).

    Called when the setting `profile` names one; of two with the same name the first counts. Since 0.1.
    """
    return ()
