"""One bulk action from its options to the sentence that says what was done."""

from __future__ import annotations

from treadle.cli.bulk import Asked, Tally, act, chunks, tell
from treadle.cli.call import Call
from treadle.cli.connect import asking, run
from treadle.cli.selecting import Selected
from treadle.errors import JobNotFound
from treadle.runtime.client import Client


def perform(call: Call, selected: Selected, asked: Asked, *, done: str, dry_run: bool) -> None:
    """Let `asked` happen to every selected job, and say how many it happened to.

    Raises:
        JobNotFound: naming ids that no job has, after the others were dealt with.
    """
    tally = Tally()

    async def main() -> None:
        async with asking(call) as client:
            await _all(call, client, selected, asked, tally, dry_run=dry_run)

    run(main)
    _write(call, tally, done, dry_run=dry_run)
    if tally.unknown:
        raise JobNotFound(f"no job has the id {', '.join(tally.unknown)}")


async def _all(
    call: Call,
    client: Client,
    selected: Selected,
    asked: Asked,
    tally: Tally,
    *,
    dry_run: bool,
) -> None:
    with call.output.progress("jobs") as bar:
        broker = await client.broker()
        async for now, records in chunks(broker, selected, tally):
            if dry_run:
                tell(now, records, asked, tally)
            else:
                await act(client, now, records, asked, tally)
            bar.update(tally.seen, len(selected.refs) or tally.seen)


def _write(call: Call, tally: Tally, done: str, *, dry_run: bool) -> None:
    if call.output.as_json:
        counts = {done: tally.done, "asked": tally.asked, "skipped": tally.skipped}
        call.output.objects([{**counts, "dry_run": dry_run}])
        return
    asked = f", asked {tally.asked} running to stop" if tally.asked else ""
    text = f"{done} {tally.done}{asked}, skipped {tally.skipped}"
    call.output.line(f"dry run, would have: {text}" if dry_run else text)
    if tally.skipped:
        call.output.note("Skipped are jobs whose state does not allow it: `qrun jobs show ID`.")
