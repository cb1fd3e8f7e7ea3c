"""Reading `qrun` lines as the command itself does, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from treadle.cli import main

_REDIRECTION = re.compile(r"\s\d?[<>]{1,2}(&\d|\s*\S+)")
_SEPARATORS = {"&&", "||", "|", ";", "&"}


def root() -> click.Group:
    """Return the argument tree of `qrun`."""
    assert isinstance(main, click.Group)
    return main


def problem_of(line: str) -> str | None:
    """Say what `qrun` would not understand in a shell line; None if it would understand all."""
    for words in _calls(line):
        try:
            _parse(root(), words)
        except click.exceptions.Exit:
            continue  # --help and --version end here
        except click.BadParameter as error:
            if not isinstance(getattr(error.param, "type", None), click.Path | click.File):
                return error.format_message()
        except click.ClickException as error:
            return error.format_message()
    return None


def _calls(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each `qrun` in a line; the words around it are the shell's."""
    lexer = shlex.shlex(_REDIRECTION.sub("", line), posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    call: list[str] | None = None
    for word in [*lexer, ";"]:
        if word in _SEPARATORS:
            if call is not None:
                yield call
            call = None
        elif call is not None:
            call.append(word)
        elif word.rpartition("/")[2] in {"qrun", "treadle"}:
            call = []


def _parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    context = command.context_class(
        command, parent=parent, info_name=command.name, **command.context_settings
    )
    with context.scope(cleanup=False):
        # The parsing that groups and single commands share: a group leaves its subcommand over.
        rest = click.Command.parse_args(command, context, words)
    if isinstance(command, click.Group) and rest:
        _, found, left = command.resolve_command(context, rest)
        assert found is not None
        _parse(found, left, context)


def walk(
    command: click.Command, path: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not hidden, with the words that call it."""
    if command.hidden:
        return
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=command.name, parent=parent)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, f"{path} {name}", context)
