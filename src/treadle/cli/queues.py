"""`qrun queues`: counts of every queue; pause and resume."""

from __future__ import annotations

import click
from msgspec import structs

from treadle.broker.base import QueueStats
from treadle.cli.call import Call, command, group
from treadle.cli.connect import connected, run
from treadle.cli.fitting import Narrow
from treadle.runtime.job_options import queue_name

_COLUMNS = (
    "queue",
    "waiting",
    "later",
    "blocked",
    "running",
    "succeeded",
    "dead",
    "cancelled",
    "oldest",
    "state",
)
_NARROW = Narrow(spare=("cancelled", "later", "blocked", "succeeded", "oldest"))


@command("list", reads=True)
def list_(call: Call) -> None:
    """List every queue with its counts."""

    async def main() -> None:
        async with connected(call) as broker:
            stats = await broker.stats()
        if call.output.as_json:
            call.output.objects(_object(queue, stats.now) for queue in stats.queues)
        elif stats.queues:
            rows = [_cells(queue, stats.now) for queue in stats.queues]
            call.output.table(_COLUMNS, rows, narrow=_NARROW)
        else:
            call.output.note("No queues yet: one exists once a job was enqueued.")

    run(main)


def _oldest_ms(queue: QueueStats, now: int) -> int | None:
    return None if queue.oldest_due is None else max(now - queue.oldest_due, 0)


def _object(queue: QueueStats, now: int) -> dict[str, object]:
    row = structs.asdict(queue)
    del row["oldest_due"]
    return {**row, "oldest_ms": _oldest_ms(queue, now)}


def _cells(queue: QueueStats, now: int) -> list[str]:
    oldest = _oldest_ms(queue, now)
    later = f"~{queue.later}" if queue.later_is_estimate else str(queue.later)
    return [
        queue.queue,
        str(queue.waiting),
        later,
        str(queue.blocked),
        str(queue.running),
        str(queue.succeeded),
        str(queue.dead),
        str(queue.cancelled),
        "" if oldest is None else f"{oldest / 1_000:.1f} s",
        "paused" if queue.paused else "",
    ]


@command("pause")
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
def pause(call: Call, names: tuple[str, ...]) -> None:
    """Stop claims of queues; jobs that run go on. Survives restarts."""
    for name in names:
        queue_name(name)  # what cannot be a queue's name is not kept as one
    _set_paused(call, names, paused=True)


@command("resume")
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
def resume(call: Call, names: tuple[str, ...]) -> None:
    """Let workers claim from queues again."""
    _set_paused(call, names, paused=False)


def _set_paused(call: Call, names: tuple[str, ...], *, paused: bool) -> None:
    async def main() -> None:
        async with connected(call) as broker:
            known = [queue.queue for queue in (await broker.stats()).queues]
            for name in names:
                await broker.pause(name, paused)
                call.output.note(f"{name}: {'paused' if paused else 'resumed'}")
                if name not in known:
                    call.output.note(
                        f"No job was ever enqueued to {name}. Queues: {', '.join(known) or 'none'}"
                    )

    run(main)


queues = group("queues", "List queues; pause and resume them.", [list_, pause, resume])
