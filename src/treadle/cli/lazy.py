"""Groups whose commands are imported when they are called, so that `--help` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

import click


class Entry(NamedTuple):
    """Where a command is defined, and the line that stands for it in the list."""

    target: str
    """`module:name` of the command."""
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands by name and help line, and imports one when it is called.

    A name that is neither in the table nor added asks `more` once: there plugins add theirs.
    """

    def __init__(
        self,
        name: str,
        *,
        table: Mapping[str, Entry],
        help: str,
        more: Callable[[click.Group], None] | None = None,
        callback: Callable[[], None] | None = None,
        params: Sequence[click.Parameter] = (),
        epilog: str | None = None,
        context_settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(
            name,
            help=help,
            callback=callback,
            params=list(params),
            epilog=epilog,
            context_settings=dict(context_settings or {}),
        )
        self._table = table
        self._more = more

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command, those of the table in its order."""
        added = super().list_commands(ctx)
        return [*self._table, *(name for name in added if name not in self._table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be; None if nobody has one of that name."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self._table:
            found = self._imported(cmd_name)
        if found is None and self._more is not None:
            more, self._more = self._more, None
            more(self)
            found = super().get_command(ctx, cmd_name)
        return found

    def _imported(self, name: str) -> click.Command:
        module, _, attribute = self._table[name].target.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{self._table[name].target} is no click command")
        self.add_command(found, name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, or say which one may have been meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            near = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        rows = [(name, entry.help) for name, entry in self._table.items()]
        for name in self.list_commands(ctx):
            command = self.commands.get(name)
            if name not in self._table and command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
