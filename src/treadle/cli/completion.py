"""`qrun completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from treadle.cli.call import Call, command

_WHERE = {
    "bash": 'eval "$(qrun completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(qrun completion zsh)"    # in ~/.zshrc',
    "fish": "qrun completion fish | source      # in ~/.config/fish/config.fish",
}


@command("completion")
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(call: Call, shell: str) -> None:
    """Print the completion script of a shell: bash, zsh or fish."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click completes nothing for {shell}")
    root = call.ctx.find_root().command
    click.echo(made(root, {}, "qrun", "_QRUN_COMPLETE").source())
    call.output.note(f"# Put this line where your shell finds it: {_WHERE[shell]}")
