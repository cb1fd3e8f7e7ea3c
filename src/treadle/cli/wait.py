"""`qrun wait`: until jobs are final, with their progress while a person watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import anyio
import click

from treadle.broker.base import Broker, QueueStats
from treadle.cli.call import Call, command, is_terminal
from treadle.cli.connect import connected, run
from treadle.cli.failures import FAILED
from treadle.cli.output import Output
from treadle.cli.views import JobView, job_view
from treadle.cli.watching import Watch, progress_of
from treadle.domain.job import Ref
from treadle.domain.state import State
from treadle.errors import JobNotFound, ResultTimeout

if TYPE_CHECKING:
    from treadle.cli.pretty import Bars

_LOOK_MS = 500
_MOST_BARS = 20


@command("wait", reads=True)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", is_flag=True, help="Wait for every job that the broker has.")
@click.option("--queue", metavar="NAME", help="The queue of the jobs; with --all, only its jobs.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this time."
)
def wait(
    call: Call, ids: tuple[str, ...], all: bool, queue: str | None, timeout: float | None
) -> None:
    """Wait until jobs are final. Ends with 1 if one is dead or cancelled, with 124 if it is late.

    With --all it looks at every job that the broker still keeps, also at those that were final
    before.
    """
    if bool(ids) == all:
        raise click.UsageError("Name the jobs to wait for, or use --all.")

    async def main() -> bool:
        redact = call.settings().redact
        async with connected(call) as broker:
            with anyio.move_on_after(timeout):
                if all:
                    return await _wait_for_all(call.output, broker, queue)
                refs = [Ref(queue or "", name) for name in dict.fromkeys(ids)]
                return await _wait_for(call.output, broker, refs, redact)
        raise ResultTimeout(f"not all jobs were final after {timeout:g} s; they go on")

    if not run(main):
        call.ctx.exit(FAILED)


async def _wait_for(
    output: Output, broker: Broker, refs: Sequence[Ref], redact: Sequence[str]
) -> bool:
    """Wait for these jobs and write each when it is final; tell whether all succeeded."""
    found = await broker.get(refs)
    missing = [ref.id for ref, record in zip(refs, found, strict=True) if record is None]
    if missing:
        raise JobNotFound(f"no job has the id {', '.join(missing)}")
    records = [record for record in found if record is not None]
    watch = Watch(broker, [record.ref for record in records])
    good = True
    with _bars(output) as bars:
        show = _Progress(broker, bars, total=len(records))
        async for now, record in watch.finals(_LOOK_MS, show.look):
            show.ended()
            good = good and record.head.state is State.SUCCEEDED
            _write(output, job_view(record, now, redact))
    return good


def _write(output: Output, view: JobView) -> None:
    if output.as_json:
        output.objects([view])
        return
    why = f" ({view.reason})" if view.reason not in (None, view.state) else ""
    error = "" if view.error is None else f" {view.error.type}: {view.error.message}"
    output.line(f"{view.id}  {view.state}{why}{error}")


def _bars(output: Output) -> AbstractContextManager[Bars | None]:
    if output.quiet or output.as_json or not is_terminal():
        return nullcontext(None)
    from treadle.cli.pretty import bars  # noqa: PLC0415 - loads rich

    return bars()


class _Progress:
    """Shows how many jobs are final, and how far those are that run."""

    def __init__(self, broker: Broker, bars: Bars | None, *, total: int) -> None:
        self._broker = broker
        self._bars = bars
        self._total = total
        self._final = 0

    def ended(self) -> None:
        """Count a job that is final."""
        self._final += 1
        if self._bars is not None:
            self._bars.bar("jobs").update(self._final, self._total)

    async def look(self, pending: Sequence[Ref]) -> None:
        """Show what the handlers of the first jobs say about themselves."""
        if self._bars is None:
            return
        self._bars.bar("jobs").update(self._final, self._total)
        for ref in pending[:_MOST_BARS]:
            said = progress_of(await self._broker.notes(ref))
            if said is not None:
                self._bars.bar(ref.id).update(int(said.done), int(said.total or 0), said.note)


async def _wait_for_all(output: Output, broker: Broker, queue: str | None) -> bool:
    """Wait until nothing waits, is blocked or runs; tell whether nothing is dead or cancelled."""
    cursor = (await broker.events(None)).cursor
    most = 1
    with output.progress("jobs") as bar:
        while True:
            queues = [q for q in (await broker.stats()).queues if queue in (None, q.queue)]
            left = _sum(queues, lambda q: q.waiting + q.blocked + q.running)
            most = max(most, left)
            bar.update(most - left, most)
            if not left:
                break
            cursor = (await broker.events(cursor, limit=10_000, wait_ms=_LOOK_MS)).cursor
    counts = {
        "succeeded": _sum(queues, lambda q: q.succeeded),
        "dead": _sum(queues, lambda q: q.dead),
        "cancelled": _sum(queues, lambda q: q.cancelled),
    }
    if output.as_json:
        output.objects([counts])
    else:
        output.line(", ".join(f"{name} {count}" for name, count in counts.items()))
    return not counts["dead"] + counts["cancelled"]


def _sum(queues: Sequence[QueueStats], number: Callable[[QueueStats], int]) -> int:
    return sum(number(queue) for queue in queues)
