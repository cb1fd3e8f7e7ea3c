"""`qrun web` and `qrun token`."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from msgspec import Struct

from treadle.app import Jobs
from treadle.cli.call import Call, command, group
from treadle.cli.connect import connected, reached, run
from treadle.cli.discovery import App, find_app
from treadle.cli.extensions import own_version
from treadle.cli.views import instant
from treadle.errors import ConfigurationError
from treadle.logs import configure
from treadle.runtime.owner import job_fields
from treadle_web import tokens
from treadle_web.operation import Scope

if TYPE_CHECKING:
    from treadle.runtime.worker import Worker

TOKEN: Final = "QRUN_PLUGIN_WEB_TOKEN"  # noqa: S105 - a name, no token
"""The variable that holds a token which may do everything."""


@command("web")
@click.argument("app", metavar="[APP]", required=False)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    envvar="QRUN_PLUGIN_WEB_HOST",
    help="Where to listen; any address but a loopback one needs a token.",
)
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    envvar="QRUN_PLUGIN_WEB_HOSTS",
    help="A name under which it is reached, as the Host header tells it; may be given again.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="QRUN_PLUGIN_WEB_TOKEN_FILE",
    help=f"A file with a token that may do everything; {TOKEN} does the same.",
)
@click.option(
    "--profile",
    metavar="NAME",
    envvar="QRUN_PROFILE",
    help="Serve the contract of another service as well: pool, submit, documents, jqs or streams.",
)
@click.option("--no-worker", is_flag=True, help="With --profile: leave the jobs to `qrun worker`.")
@click.option("--log-format", metavar="FORMAT", help="console, json or logfmt.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warn or error.")
def web(
    call: Call,
    app: str | None,
    *,
    host: str,
    port: int | None,
    hosts: tuple[str, ...],
    token_file: Path | None,
    profile: str | None,
    no_worker: bool,
    **options: str | None,
) -> None:
    """Serve the HTTP interface until told to stop.

    With an APP, found as by `qrun worker`, only jobs that fit its handlers are accepted; without one
    any job is. A profile brings its own application, and runs the jobs in this process too.
    """
    call.flag("profile", "profile", profile)
    call.flag("web.port", "port", port)
    call.flag("log.format", "log_format", options["log_format"])
    call.flag("log.level", "log_level", options["log_level"])
    settings = call.settings()
    if no_worker and settings.url.startswith("memory:"):
        raise click.UsageError("memory:// lives in one process: nobody would run its jobs.")
    log = settings.log
    configure(format=log.format, level=log.level, redact=settings.redact, about=job_fields)
    found = find_app(settings, app, folder=Path.cwd())
    if found is None and call.profile is not None and call.profile.app is not None:
        found = find_app(settings, call.profile.app, folder=Path.cwd())
    works = call.profile is not None and call.profile.works and not no_worker
    jobs = Jobs(settings=settings) if found is None else found.jobs
    run(lambda: _serve(call, found, jobs, host, hosts, _token(token_file), works), fast=True)


async def _serve(
    call: Call,
    found: App | None,
    jobs: Jobs,
    host: str,
    hosts: tuple[str, ...],
    token: str,
    works: bool,
) -> None:
    from treadle_web.app import create_app  # noqa: PLC0415 - loads Starlette
    from treadle_web.guard import access, is_loopback, refuse_bind  # noqa: PLC0415 - the same
    from treadle_web.serving import listen, serve_until_told  # noqa: PLC0415 - loads uvicorn
    from treadle_web.web import Limits  # noqa: PLC0415 - the same

    profile = call.profile
    limits = Limits()
    allowed = access(bind=host, hosts=hosts, token=token, open=is_loopback(host))
    async with reached(jobs) as client:
        broker = await client.broker()
        stored = await tokens.listed(broker)
        refuse_bind(host, has_token=bool(token or stored))
        described = await broker.describe()
        if (most := jobs.settings.web.buffer) is not None:
            for queue in jobs.settings.worker.queues:
                await broker.set_queue_limit(queue, most)
    serving = create_app(jobs, limits=limits, access=allowed, profile=profile)
    worker: Worker | None = None
    if found is not None and works:
        from treadle.cli.worker import beside  # noqa: PLC0415 - only who works needs it

        worker = beside(found)
    listening = listen(host, jobs.settings.web.port)
    with listening:
        port = listening.getsockname()[1]
        if not call.output.quiet:
            name = f"[{host}]" if ":" in host else host
            who = f"{len(stored) + bool(token)} known" if token or stored else "none asked for"
            for label, value in (
                ("treadle", own_version()),
                ("app", "none: any type of job is accepted" if found is None else found.name),
                ("broker", f"{jobs.url} ({described.name} {described.version})"),
                ("tokens", who),
                *_about(call, worker),
                ("serving", f"http://{name}:{port}{'' if profile else '/api/v1'}"),
            ):
                call.output.line(f"{label:<8} {value}")
            sys.stdout.flush()
        await serve_until_told(serving, listening, limits, worker)


def _about(call: Call, worker: Worker | None) -> list[tuple[str, str]]:
    """Tell the profile that is served, and who runs the jobs."""
    if call.profile is None:
        return []
    runs = "left to qrun worker" if worker is None else f"{worker.options.concurrency} slots here"
    return [("profile", f"{call.profile.name}: {call.profile.summary}"), ("worker", runs)]


def _token(file: Path | None) -> str:
    """Read the token of this server; "" if there is none.

    Raises:
        ConfigurationError: if its file cannot be read, or others can read it.
    """
    if file is None:
        return os.environ.get(TOKEN, "").strip()
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigurationError(f"{file} holds a token, and others may read it: chmod 600")
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the token file {file}: {error}") from error
    if not text:
        raise ConfigurationError(f"the token file {file} is empty")
    return text


class TokenView(Struct, frozen=True, kw_only=True):
    """A token in a list; the token itself is nowhere."""

    id: str
    name: str
    scopes: tuple[str, ...]
    queues: tuple[str, ...]
    """None named: all."""
    created: str | None


@command("create", reads=True)
@click.argument("name", metavar="NAME")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help="What it allows; may be given again.",
)
@click.option(
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Only for what is in this queue; may be given again.",
)
def create(call: Call, name: str, scopes: tuple[str, ...], queues: tuple[str, ...]) -> None:
    """Make a token and write it, once: only its hash is kept. NAME is who acts, in histories."""

    async def main() -> str:
        async with connected(call) as broker:
            return await tokens.create(broker, name, [Scope(scope) for scope in scopes], queues)

    token = run(main)
    if call.output.as_json:
        call.output.objects([{"name": name, "token": token}])
    else:
        call.output.line(token)
        call.output.note("Keep it: it cannot be shown again.")


@command("list", reads=True)
def list_(call: Call) -> None:
    """List the tokens that the store knows."""

    async def main() -> list[TokenView]:
        async with connected(call) as broker:
            found = await tokens.listed(broker)
        return [
            TokenView(
                id=one.id,
                name=one.stored.name,
                scopes=tuple(scope.value for scope in one.stored.scopes),
                queues=one.stored.queues,
                created=instant(one.stored.created),
            )
            for one in found
        ]

    views = run(main)
    if call.output.as_json:
        call.output.objects(views)
    elif views:
        rows = [
            [one.id, one.name, " ".join(one.scopes), " ".join(one.queues), one.created or ""]
            for one in views
        ]
        call.output.table(("id", "name", "scopes", "queues", "created"), rows)
    else:
        call.output.note("No tokens.")


@command("revoke")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def revoke(call: Call, ids: tuple[str, ...]) -> None:
    """Take tokens back; servers refuse them within seconds."""

    async def main() -> list[str]:
        async with connected(call) as broker:
            return [one for one in ids if not await tokens.revoke(broker, one)]

    unknown = run(main)
    if unknown:
        raise ConfigurationError(f"no token has the id {', '.join(unknown)}: `qrun token list`")


token = group(
    "token", "Make, list and revoke tokens of the HTTP interface.", [create, list_, revoke]
)
COMMANDS = (web, token)
