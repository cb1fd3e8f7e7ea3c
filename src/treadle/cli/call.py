"""What every command shares: where the jobs are, how to speak, and the settings it runs under."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from treadle.cli.lazy import LazyGroup
from treadle.cli.output import Output
from treadle.cli.root import verbose_option
from treadle.settings import NAMES, Settings, load

if TYPE_CHECKING:
    from treadle.profile import Profile


class Call:
    """One call of a command: its options as settings, and its output."""

    def __init__(self, ctx: click.Context, *, url: str | None, output: Output) -> None:
        self.ctx = ctx
        self.output = output
        self.profile: Profile | None = None
        """What the setting `profile` names, once the settings were read."""
        self._flags: dict[str, object] = {"url": url if given(ctx, "url") else None}

    def flag(self, path: str, name: str, value: object) -> None:
        """Let the option `name` win over the setting at `path`, if it was given."""
        if given(self.ctx, name):
            self._flags[path] = value

    def settings(self) -> Settings:
        """Read the settings under which this call runs.

        Raises:
            ConfigurationError: naming each one that is unknown or does not fit, or a profile that
                nobody has.
        """
        environ = _environment(self.ctx)
        settings = load(environ=environ, flags=self._flags)
        if settings.profile is None:
            return settings
        from treadle.plugins import Plugins  # noqa: PLC0415 - imports plugins, for a profile only

        self.profile = Plugins.of(settings).profile(settings.profile)
        return load(environ=environ, flags=self._flags, defaults=self.profile.defaults)


def given(ctx: click.Context, name: str) -> bool:
    """Tell whether an option was given on the command line, or in a variable of its own.

    A variable that is also a setting is left to the settings, which tell it as the origin.
    """
    source = ctx.get_parameter_source(name)
    if source is not ParameterSource.ENVIRONMENT:
        return source is ParameterSource.COMMANDLINE
    return _variable(ctx, name) not in NAMES


def _variable(ctx: click.Context, name: str) -> str:
    for parameter in ctx.command.params:
        if parameter.name == name and isinstance(parameter.envvar, str):
            return parameter.envvar
    return f"{ctx.auto_envvar_prefix}_{name.upper()}"


def _environment(ctx: click.Context) -> Mapping[str, str]:
    """Return the environment without the variables that only options of commands read."""
    root = ctx.find_root()
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("QRUN_") or name in NAMES or not _is_option(root, name)
    }


def _is_option(root: click.Context, variable: str) -> bool:
    words = variable.removeprefix("QRUN_").lower().split("_")
    command: click.Command | None = root.command
    context = root
    while isinstance(command, click.Group) and words:
        if isinstance(command, LazyGroup) and words[0] not in command.list_commands(context):
            return False
        context = click.Context(command, info_name=command.name, parent=context)
        command = command.get_command(context, words.pop(0))
    name = "_".join(words)
    return command is not None and any(p.name == name for p in command.params)


class Command(click.Command):
    """A command each of whose options tells the environment variable that sets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _with_variable(self.params)


def _with_variable(parameters: list[click.Parameter]) -> list[click.Parameter]:
    for parameter in parameters:
        if isinstance(parameter, click.Option) and parameter.expose_value:
            parameter.show_envvar = True
    return parameters


def command(name: str, *, reads: bool = False) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command that takes `--url`, `--quiet` and `-v`; `--json` too if it reads."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def run(url: str | None, quiet: bool, json: bool = False, **options: Any) -> None:
            output = Output(as_json=json, quiet=quiet)
            call = Call(click.get_current_context(), url=url, output=output)
            function(call, **options)

        made = click.command(name, cls=Command)(run)
        made.params += [*_with_variable(_shared(reads=reads)), verbose_option()]
        return made

    return decorate


def group(name: str, help: str, commands: Iterable[click.Command]) -> click.Group:
    """Make a group of commands."""
    made = click.Group(name, help=help)
    for member in commands:
        made.add_command(member)
    return made


def _shared(*, reads: bool) -> list[click.Parameter]:
    options: list[click.Parameter] = [
        click.Option(
            ["--url"],
            metavar="URL",
            envvar="QRUN_URL",
            help="The broker: sqlite:///jobs.db, memory://, redis://host ...",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, help="Write only data: no notes, no progress."
        ),
    ]
    if reads:
        options.append(click.Option(["--json"], is_flag=True, help="Write one JSON object a line."))
    return options


def is_terminal() -> bool:
    """Tell whether a person watches: stderr is a terminal."""
    return sys.stderr.isatty()
