"""`qrun worker`: run jobs until told to stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import click
from msgspec import structs

from treadle.app import Jobs, worker_options
from treadle.broker.base import Broker, Description
from treadle.cli.call import Call, command, given
from treadle.cli.connect import reached, run
from treadle.cli.discovery import App, load_app
from treadle.cli.extensions import own_version
from treadle.cli.failures import FAILED
from treadle.cli.output import Output
from treadle.cli.views import store_of
from treadle.domain.selection import Ordered, Selection, Weighted, names
from treadle.logs import configure
from treadle.runtime.clock import SystemClock
from treadle.runtime.duration import to_ms
from treadle.runtime.ending import exit_code
from treadle.runtime.main import run_worker
from treadle.runtime.metrics import Meter, exposition
from treadle.runtime.metrics_server import HOST, MetricsServer
from treadle.runtime.middleware import log_attempts
from treadle.runtime.names import hold_name
from treadle.runtime.owner import job_fields
from treadle.runtime.report import WorkerReport
from treadle.runtime.stopping import EarlySignals
from treadle.runtime.supervisor import Supervisor, take_parent
from treadle.runtime.worker import Worker
from treadle.settings.values import WorkerSettings

_SETTINGS = (
    ("worker.queues", "queues"),
    ("worker.concurrency", "concurrency"),
    ("worker.processes", "processes"),
    ("worker.name", "name"),
    ("worker.grace", "grace"),
    ("worker.lease", "lease"),
    ("worker.metrics_port", "metrics_port"),
    ("log.format", "log_format"),
    ("log.level", "log_level"),
)
"""Which setting each option wins over."""


@command("worker")
@click.argument("app", metavar="[APP]", required=False)
@click.option("--queues", metavar="A,B", help="Serve these queues, strictly in this order.")
@click.option("--weights", metavar="A=3,B=1", help="Serve these queues by weight instead.")
@click.option("--concurrency", type=int, metavar="N", help="How many jobs run at a time.")
@click.option("--processes", type=int, metavar="N", help="Supervise N processes; 0 = work in this.")
@click.option("--name", metavar="NAME", help="Session name: a restart takes over its own jobs.")
@click.option("--grace", metavar="TIME", help="How long running jobs may go on after SIGTERM.")
@click.option("--lease", metavar="TIME", help="When the jobs of a silent worker go to others.")
@click.option(
    "--metrics-port",
    type=int,
    metavar="N",
    help="Serve Prometheus on 127.0.0.1:N; with --processes, on N and the ports after it.",
)
@click.option("--burst", is_flag=True, help="Stop when nothing is due any more.")
@click.option("--fail", is_flag=True, help="With --burst: end with 1 if jobs failed.")
@click.option("--log-format", metavar="FORMAT", help="console, json or logfmt.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warn or error.")
def worker(
    call: Call,
    app: str | None,
    weights: str | None,
    burst: bool,
    fail: bool,
    **options: str | int | None,
) -> None:
    """Run jobs until told to stop; SIGTERM or Ctrl-C drains, a second one hurries.

    APP is module:attribute; without it QRUN_APP, [tool.treadle] app, or the one Jobs object in
    jobs.py, app.py or main.py.
    """
    parent = take_parent()
    if weights and given(call.ctx, "queues"):
        raise click.UsageError("Give --queues or --weights, not both.")
    if fail and not burst:
        raise click.UsageError("--fail goes with --burst.")
    for path, name in _SETTINGS:
        call.flag(path, name, options[name])
    settings = call.settings()
    log = settings.log
    configure(format=log.format, level=log.level, redact=settings.redact, about=job_fields)
    chosen = selection(settings.worker.queues, weights)
    found = load_app(settings, app, folder=Path.cwd(), say=call.output.note)
    schedules = _schedules_line(found.jobs)
    described = run(lambda: _described(found.jobs))
    with EarlySignals() as early:
        _greet(call.output, found, chosen, described, schedules)
        if settings.worker.processes >= 1:
            code = _supervise(found, chosen, early, weights=weights, burst=burst, fail=fail)
        else:
            code = _work(found, chosen, early, burst=burst, fail=fail, parent=parent)
    if code:
        call.ctx.exit(code)


def selection(queues: Sequence[str], weights: str | None) -> Selection:
    """Read the queues of a worker.

    Raises:
        click.UsageError: if a weight is no positive number.
    """
    if not weights:
        return Ordered(tuple(dict.fromkeys(queues)))
    pairs: list[tuple[str, float]] = []
    for part in weights.split(","):
        name, _, number = part.strip().partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < float("inf"):
            raise click.UsageError(f"--weights: {part.strip()!r} is not name=number")
        pairs.append((name, weight))
    return Weighted(tuple(pairs))


async def _described(jobs: Jobs) -> Description:
    """Connect once before work begins.

    Raises:
        BrokerUnavailable, BrokerRefused: if the broker cannot or must not be used.
    """
    async with reached(jobs) as client:
        return await (await client.broker()).describe()


def _greet(
    output: Output,
    app: App,
    chosen: Selection,
    described: Description,
    schedules: Sequence[tuple[str, str]],
) -> None:
    """Print the start screen."""
    if output.quiet:
        return
    jobs = app.jobs
    own = jobs.settings.worker
    handlers = ", ".join(sorted(jobs.handlers)) or "none: every job will be parked"
    for name, value in (
        ("treadle", own_version()),
        ("app", app.name),
        ("broker", _broker_line(jobs, described)),
        ("queues", _queues_line(chosen)),
        ("slots", _slots_line(own.concurrency, own.processes)),
        ("handlers", f"{len(jobs.handlers)}: {handlers}"),
        *schedules,
        *_metrics_line(own),
    ):
        output.line(f"{name:<9} {value}")
    sys.stdout.flush()


def _schedules_line(jobs: Jobs) -> Sequence[tuple[str, str]]:
    """Name the schedules.

    Raises:
        ConfigurationError: if one of the settings fits no handler.
    """
    names = ", ".join(sorted(jobs.timetable))
    return [("schedules", f"{len(jobs.timetable)}: {names}")] if names else []


def _metrics_line(own: WorkerSettings) -> Sequence[tuple[str, str]]:
    port = own.metrics_port
    if port is None:
        return []
    ports = "a free port, told in the log" if port == 0 else str(port)
    if port and own.processes > 1:
        ports = f"{port} to {port + own.processes - 1}, one for each process"
    return [("metrics", f"{HOST}, port {ports}")]


def _slots_line(concurrency: int, processes: int) -> str:
    if processes == 0:
        return f"{concurrency} in this process"
    return f"{concurrency} in each of {processes} supervised process{'es' * (processes > 1)}"


def _broker_line(jobs: Jobs, described: Description) -> str:
    durability = described.durability.value
    return f"{jobs.url} ({store_of(described)}, durability {durability})"


def _queues_line(chosen: Selection) -> str:
    if isinstance(chosen, Weighted):
        return ", ".join(f"{name} (weight {weight:g})" for name, weight in chosen.weights)
    return ", ".join(names(chosen))


def _work(
    app: App, chosen: Selection, early: EarlySignals, *, burst: bool, fail: bool, parent: int
) -> int:
    """Run one worker in this process; return its exit code."""
    jobs = app.jobs
    with_log(jobs)

    def code(report: WorkerReport) -> int:
        return FAILED if fail and report.failed else exit_code(report)

    port = jobs.settings.worker.metrics_port
    meter = None if port is None else Meter(jobs.handlers, names(chosen))

    def make() -> Worker:
        options = structs.replace(
            worker_options(jobs.settings.worker),
            selection=chosen,
            app=app.name,
            burst=burst,
            ends_with=code,
            parent=parent,
            meter=meter,
        )
        return Worker(registry=jobs, broker_factory=jobs.broker, options=options)

    with ExitStack() as stack:
        if meter is not None:
            stack.enter_context(MetricsServer(port or 0, lambda: exposition(meter)))
        return code(run_worker(make, early=early))


def with_log(jobs: Jobs) -> None:
    """Let each attempt be logged, if the app does not see to it."""
    if not any(_is_log(layer) for layer in jobs.middleware):
        jobs.use(log_attempts(), outermost=True)  # it tells what the others made of an attempt


def beside(app: App) -> Worker:
    """Make the worker of a process that also does something else; its settings say the rest."""
    with_log(app.jobs)
    return app.jobs.worker(app=app.name)


def _is_log(layer: object) -> bool:
    return getattr(layer, "__qualname__", "").startswith(f"{log_attempts.__qualname__}.")


def _supervise(
    app: App,
    chosen: Selection,
    early: EarlySignals,
    *,
    weights: str | None,
    burst: bool,
    fail: bool,
) -> int:
    """Run several workers in child processes; return the exit code."""
    jobs = app.jobs
    before = run(lambda: _failed(jobs)) if fail else 0
    own = jobs.settings.worker
    with ExitStack() as stack:
        if own.name is None:
            held = [hold_name(jobs.url.raw) for _ in range(own.processes)]
            children = [name.name for name in held]
            for name in held:
                stack.callback(name.release)
        elif own.processes == 1:
            children = [own.name]
        else:
            children = [f"{own.name}-{number + 1}" for number in range(own.processes)]
        arguments = _arguments(app, chosen, weights=weights, burst=burst)
        ports = _ports(own)
        supervisor = Supervisor(
            lambda name: [*arguments, "--name", name, *ports(children.index(name))],
            children,
            clock=SystemClock(),
            rng=Random(),
            grace_ms=to_ms(own.grace, "worker.grace"),
        )
        code = supervisor.run(early)
    if not code and fail and run(lambda: _failed(jobs)) > before:
        return FAILED
    return code


def _ports(own: WorkerSettings) -> Callable[[int], Sequence[str]]:
    """Return what the child of each number is told about the port of its metrics.

    Raises:
        click.UsageError: if there are not enough ports above the first.
    """
    port = own.metrics_port
    if port is None:
        return lambda _: ()
    if port + own.processes > 65_536:
        raise click.UsageError(
            f"--metrics-port {port}: {own.processes} processes need as many ports"
        )
    return lambda number: ("--metrics-port", str(port and port + number))


def _arguments(app: App, chosen: Selection, *, weights: str | None, burst: bool) -> list[str]:
    """Write the command line of a child; the environment and the files it reads by itself."""
    settings = app.jobs.settings
    own, log = settings.worker, settings.log
    queues = ["--weights", weights] if weights else ["--queues", ",".join(names(chosen))]
    return [
        *(sys.executable, "-m", "treadle", "worker", app.name, "--quiet", "--processes", "0"),
        *queues,
        # Only one that stood on a command line already: it may hold a password.
        *(("--url", settings.url) if settings.origin("url") == "flag" else ()),
        *("--concurrency", str(own.concurrency)),
        *("--grace", f"{to_ms(own.grace, 'worker.grace')}ms"),
        *("--lease", f"{to_ms(own.lease, 'worker.lease')}ms"),
        *("--log-level", log.level.value),
        *(("--log-format", log.format.value) if log.format else ()),
        *(("--burst",) if burst else ()),
    ]


async def _failed(jobs: Jobs) -> int:
    """Count the jobs that are dead or cancelled now."""
    async with reached(jobs) as client:
        broker: Broker = await client.broker()
        stats = await broker.stats()
    return sum(queue.dead + queue.cancelled for queue in stats.queues)
