"""What the command says about itself, word by word; and that saying it is cheap."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.docs.command import walk
from treadle.cli import main

FOLDER = Path(__file__).parent / "help"
COMMANDS = list(walk(main, "qrun"))


def _help(path: str) -> str:
    arguments = [*path.split()[1:], "--help"]
    result = CliRunner().invoke(main, arguments, prog_name="qrun", terminal_width=90, color=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS])
def test_the_help_of_each_command_is_what_was_agreed(path: str) -> None:
    """Set WRITE_HELP=1 to write the files anew, then look at the difference."""
    file = FOLDER / f"{path.replace(' ', '-')}.txt"
    text = _help(path)
    if os.environ.get("WRITE_HELP"):
        file.write_text(text, encoding="utf-8")

    assert text == file.read_text(encoding="utf-8")


def test_there_is_no_help_of_a_command_that_is_gone() -> None:
    known = {f"{path.replace(' ', '-')}.txt" for path, _ in COMMANDS}

    assert {file.name for file in FOLDER.iterdir()} == known


def test_no_command_and_no_option_is_hidden() -> None:
    hidden = [
        f"{path} {parameter.name}"
        for path, command in COMMANDS
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.hidden
    ]

    assert hidden == []


@pytest.mark.parametrize("path", [p for p, c in COMMANDS if not isinstance(c, click.Group)])
def test_every_command_takes_a_url_and_tells_its_variables(path: str) -> None:
    text = _help(path)

    assert "--url" in text
    assert "QRUN_URL" in text
    assert "--quiet" in text


READS = (
    *("jobs list", "jobs show", "dead list", "dead show", "cron list", "cron next", "cron explain"),
    *("queues list", "workers", "plugins", "config", "doctor", "wait"),
)


@pytest.mark.parametrize("path", READS)
def test_every_command_that_reads_writes_json_if_asked(path: str) -> None:
    assert "--json" in _help(f"qrun {path}")


def test_the_help_loads_no_codec_no_loop_no_plugin_and_nothing_pretty() -> None:
    program = (
        "import sys; sys.argv = ['qrun', '--help']\n"
        "from treadle.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*set(sys.modules) & {'anyio', 'msgspec', 'pluggy', 'rich', 'structlog', 'logging'})"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240
    )

    assert done.stdout.splitlines()[-1] == ""


def test_a_wrong_command_is_answered_with_the_right_one() -> None:
    result = CliRunner().invoke(main, ["wroker"])

    assert result.exit_code == 2
    assert "Did you mean 'worker'?" in result.stderr


def test_the_version_is_the_distribution_s() -> None:
    result = CliRunner().invoke(main, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.startswith("qrun (Treadle) ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])

    assert result.exit_code == 0
    assert "_QRUN_COMPLETE" in result.stdout
