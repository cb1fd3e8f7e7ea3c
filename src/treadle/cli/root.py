"""The argument tree of `qrun`: its commands by name, and what holds for all of them."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from treadle.cli.failures import as_known, report
from treadle.cli.lazy import Entry, LazyGroup
from treadle.errors import PluginError, TreadleError

VERBOSE = "treadle.verbose"
"""The key of the context under which `-v` is noted."""

_HELP = """Run, feed and look after background jobs.

The broker is named by --url, QRUN_URL or the key `url` of [tool.treadle]; without any of them it
is the file .treadle/jobs.db.
"""

_EPILOG = """Exit codes: 0 done, 1 jobs failed or a check fell short, 2 usage or a payload that
does not fit, 3 the app cannot be loaded, 4 the broker cannot be reached, 5 a plugin is missing,
124 timed out, 130 and 143 ended by a signal."""

_TABLE = {
    "dev": Entry("treadle.cli.dev:dev", "Run a worker that restarts when the code changes."),
    "worker": Entry("treadle.cli.worker:worker", "Run jobs until told to stop."),
    "scheduler": Entry("treadle.cli.scheduler:scheduler", "Fire schedules, and run no jobs."),
    "enqueue": Entry("treadle.cli.enqueue:enqueue", "Enqueue one job, or those of a file."),
    "wait": Entry("treadle.cli.wait:wait", "Wait until jobs are final."),
    "jobs": Entry("treadle.cli.jobs:jobs", "List, show, retry, cancel and delete jobs."),
    "dead": Entry("treadle.cli.dead:dead", "List, show, retry and discard dead letters."),
    "queues": Entry("treadle.cli.queues:queues", "List queues; pause and resume them."),
    "cron": Entry("treadle.cli.cron:cron", "List and explain schedules; run and pause them."),
    "workers": Entry("treadle.cli.workers:workers", "List the workers that are at work."),
    "demo": Entry("treadle.cli.demo.command:demo", "Run 2,000 jobs, kill a worker, lose nothing."),
    "plugins": Entry("treadle.cli.plugins:plugins", "List plugins, loaded or not."),
    "config": Entry("treadle.cli.config:config", "Print every setting and where it comes from."),
    "doctor": Entry("treadle.cli.doctor:doctor", "Check this installation and its broker."),
    "verify": Entry("treadle.cli.verify:verify", "Prove that a broker keeps its promises."),
    "new": Entry(
        "treadle.cli.new.command:new", "Write a package with a broker, handlers or middleware."
    ),
    "bench": Entry("treadle.cli.bench.command:bench", "Measure speed beside the raw loop."),
    "completion": Entry("treadle.cli.completion:completion", "Print a shell completion script."),
}


_FROM_PLUGINS = {"web": "treadle-web", "token": "treadle-web"}
"""Commands that come with another distribution, and which."""


def _add_plugin_commands(group: click.Group) -> None:
    from treadle.cli.extensions import add_commands  # noqa: PLC0415 - loads pluggy

    add_commands(group)


class Root(LazyGroup):
    """The root of the tree, and the one place where errors become messages and exit codes."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            PluginError: saying what to install, if it comes with a plugin that is not here.
        """
        name = args[0]
        wanted = _FROM_PLUGINS.get(name)
        if wanted and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise PluginError(
                f"`qrun {name}` comes with {wanted}, which is not loaded here. Install it with: "
                f"pip install {wanted} (from a checkout: pip install -e plugins/{wanted}). "
                "`qrun plugins` tells if it is installed and does not load."
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named; end with the exit code that its error stands for."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:
            # The reader has seen enough. Nothing may be flushed into the closed pipe at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            known = as_known(error)
            if known is None and ctx.meta.get(VERBOSE):
                raise
            ctx.exit(report(known or error, verbose=bool(ctx.meta.get(VERBOSE))))


def _verbose(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[VERBOSE] = True


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from treadle.cli.extensions import own_version  # noqa: PLC0415 - reads metadata

    click.echo(f"qrun (Treadle) {own_version()}")
    ctx.exit()


def verbose_option() -> click.Option:
    """Make the option that shows tracebacks; it may stand before or after the command."""
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_verbose,
        help="Show the traceback of an error.",
    )


main = Root(
    "qrun",
    table=_TABLE,
    help=_HELP,
    epilog=_EPILOG,
    more=_add_plugin_commands,
    params=[
        verbose_option(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_version,
            help="Show the version and exit.",
        ),
    ],
    context_settings={
        "auto_envvar_prefix": "QRUN",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)

__all__ = ["VERBOSE", "Root", "TreadleError", "main", "verbose_option"]
