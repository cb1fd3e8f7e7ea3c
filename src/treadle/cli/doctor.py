"""`qrun doctor`: what may go wrong here, looked at before it does."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from treadle.app import Jobs
from treadle.broker.base import Broker, Description, Durability
from treadle.broker.url import parse
from treadle.cli.call import Call, command
from treadle.cli.connect import is_missing, run
from treadle.cli.extensions import own_version
from treadle.cli.failures import FAILED
from treadle.cli.views import store_of
from treadle.errors import BrokerError, PluginError, TreadleError
from treadle.plugins import Plugins, Status
from treadle.runtime.clock import SystemClock
from treadle.settings import Settings

_NETWORK = ("nfs", "cifs", "smb", "afs", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs")
_FEW_FILES, _TOO_FEW_FILES = 1_024, 256
_SKEW_MS = 1_000


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    status: Verdict
    detail: str


@command("doctor", reads=True)
def doctor(call: Call) -> None:
    """Check Python, plugins, broker, durability, clock and limits; ends with 1 if one fails."""
    checks = [*_here(), *_configured(call)]
    if call.output.as_json:
        call.output.objects(checks)
    else:
        rows = [[check.check, check.status.value, check.detail] for check in checks]
        call.output.table(("check", "status", "detail"), rows)
    if any(check.status is Verdict.FAILED for check in checks):
        call.ctx.exit(FAILED)


def _check(name: str, detail: str, *, bad: bool = False, warn: bool = False) -> Check:
    status = Verdict.FAILED if bad else Verdict.WARNING if warn else Verdict.OK
    return Check(check=name, status=status, detail=detail)


def _here() -> Iterator[Check]:
    """Look at this machine and this installation."""
    yield _check("python", f"{platform.python_version()} ({sys.executable})")
    loop = "uvloop" if find_spec("uvloop") else "asyncio (pip install uvloop is faster)"
    yield _check("treadle", f"{own_version()}, event loop {loop}")
    yield _foreign_command()
    limit = _open_files()
    if limit is not None:
        detail = f"{limit} open files" + ("; raise it: ulimit -n 4096" * (limit < _FEW_FILES))
        few, many = limit < _FEW_FILES, limit < _TOO_FEW_FILES
        yield _check("files", detail, bad=many, warn=few)


def _foreign_command() -> Check:
    """Find the distribution of a stranger that brings its own command and module `qrun`."""
    try:
        foreign = distribution("qrun")
    except PackageNotFoundError:
        return _check("command", "no foreign distribution named qrun")
    return _check(
        "command",
        f"a foreign distribution qrun {foreign.version} is installed and overwrites our command: "
        "pip uninstall qrun, then install treadle again",
        bad=True,
    )


def _open_files() -> int | None:
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _configured(call: Call) -> Iterator[Check]:
    """Look at the settings, the plugins and the broker."""
    try:
        settings = call.settings()
        url = parse(settings.url)
    except TreadleError as error:
        yield _check("settings", str(error), bad=True)
        return
    yield _check("settings", f"broker {url} ({settings.origin('url')})")
    yield from _plugins(settings)
    mounts = Path("/proc/self/mounts")
    if url.scheme == "sqlite" and mounts.exists():
        text = mounts.read_text(encoding="utf-8", errors="replace")
        mount = network_mount(Path(url.path).absolute(), text)
    else:
        mount = ""
    if mount:
        yield _check("storage", f"{url} lies on {mount}: SQLite is not safe there", bad=True)
    yield from _broker(settings)


def _plugins(settings: Settings) -> Iterator[Check]:
    try:
        found = Plugins.of(settings).installed()
    except PluginError as error:
        yield _check("plugins", str(error), bad=True)
        return
    for info in found:
        if info.status is Status.FAILED:
            yield _check("plugins", f"{info.name}: {info.detail}", bad=True)
        elif info.status is Status.NOT_ENABLED:
            yield _check("plugins", f"{info.name} is not loaded: {info.detail}", warn=True)
    yield _check("plugins", f"{len(found)} installed")


def _broker(settings: Settings) -> Iterator[Check]:
    try:
        jobs = Jobs(settings=settings)
        broker, is_new = jobs.broker(), is_missing(jobs.url)
        described, skew_ms = run(lambda: _described(broker))
    except (BrokerError, PluginError) as error:
        yield _check("broker", f"{error} [{error.code}]", bad=True)
        return
    details = ", ".join(f"{name} {value}" for name, value in described.detail)
    yield _check("broker", f"{store_of(described)} answers. {details}")
    if is_new:
        detail = (
            f"there was no {jobs.url}: an empty one was made. Correct the URL if jobs are elsewhere"
        )
        yield _check("broker", detail, warn=True)
    yield _durability(settings, described)
    for warning in described.warnings:
        yield _check("broker", warning, warn=True)
    yield _check(
        "clock",
        f"{abs(skew_ms)} ms away from the broker's; nothing is decided by this one",
        warn=abs(skew_ms) > _SKEW_MS,
    )


async def _described(broker: Broker) -> tuple[Description, int]:
    async with broker:
        described = await broker.describe()
        now = (await broker.stats()).now
        return described, now - SystemClock().time_ms()


def _durability(settings: Settings, described: Description) -> Check:
    """Compare what the broker's live settings promise with what the settings ask for."""
    live, wanted = described.durability, settings.durability
    levels = list(Durability)
    detail = f"live: {live.value}, wanted: {wanted.value if wanted else 'any'}"
    bad = wanted is not None and levels.index(live) < levels.index(wanted)
    return _check("durability", detail, bad=bad, warn=live is Durability.NONE)


def network_mount(path: Path, mounts: str) -> str:
    """Name the network file system that a path lies on; empty if on none.

    `mounts` is the text of /proc/mounts.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, found, *_rest = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return f"{best} ({kind})" if kind.startswith(_NETWORK) else ""
