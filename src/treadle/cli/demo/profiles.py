"""What the demo can show: an app, its jobs, and how many workers run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from io import BytesIO
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from treadle.cli.demo import app, pool
from treadle.cli.demo.fleet import FleetFailed
from treadle.cli.lines import Bad, Line, read
from treadle.cli.making import Maker
from treadle.domain.job import Job

_COPIES = 200
_OF_EACH_TYPE = 16


class Profile(Struct, frozen=True, kw_only=True):
    """One of the things to be shown."""

    app: str
    """`module:attribute` of its app."""
    plan: Callable[[], Sequence[Job]]
    processes: int
    concurrency: int


def examples(copies: int = _COPIES) -> Sequence[Job]:
    """Make each of the ten example jobs `copies` times, every 25th delayed."""
    lines = files("treadle.cli.demo").joinpath("jobs.jsonl").read_bytes()
    maker = Maker(app.jobs, typed=True)
    made: list[Job] = []
    for number in range(copies):
        for item in read(BytesIO(lines), partial(_numbered, maker, number)):
            if isinstance(item, Bad):
                raise FleetFailed(f"the example jobs do not fit: {item}")
            made.append(item.job)
    return made


def _numbered(maker: Maker, number: int, line: Line) -> Job:
    delay = 1.0 + number % 3 * 0.5 if number % 25 == 11 else None
    named = f"demo-{line.type}-{number:04d}"
    return maker.job(line.type, bytes(line.payload), id=named, delay=delay)


def pool_jobs(of_each: int = _OF_EACH_TYPE) -> Sequence[Job]:
    """Make so many emails, notifications and reports, mixed."""
    maker = Maker(pool.jobs, typed=True)
    return [
        maker.job(
            kind,
            msgspec.json.encode({"payload": f"{kind} number {number}"}),
            id=f"demo-{kind}-{number:04d}",
        )
        for number in range(of_each)
        for kind in pool.SECONDS
    ]


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "examples": Profile(
            app="treadle.cli.demo.app:jobs", plan=examples, processes=2, concurrency=3
        ),
        "pool": Profile(
            app="treadle.cli.demo.pool:jobs", plan=pool_jobs, processes=2, concurrency=6
        ),
    }
)
