"""`qrun workers`: the sessions that the broker knows."""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Raw, Struct

from treadle.broker.base import SessionInfo
from treadle.cli.call import Call, command
from treadle.cli.connect import connected, run
from treadle.cli.fitting import Narrow
from treadle.cli.views import embedded, instant

COLUMNS = ("name", "state", "running", "opened", "about")
NARROW = Narrow(below=("about",), spare=("opened",))


class WorkerView(Struct, frozen=True, kw_only=True):
    """One worker as the broker sees it."""

    name: str
    session: str
    state: str
    """`alive`, or `expired` if its heartbeats stopped and nobody ended it yet."""
    running: int
    opened: str | None
    expires: str | None
    lease_ms: int
    info: Raw | str | None


@command("workers", reads=True)
def workers(call: Call) -> None:
    """List the workers that are at work, and those that fell silent."""

    async def main() -> None:
        async with connected(call) as broker:
            now = (await broker.stats()).now
            views = [_view(session, now) for session in await broker.sessions()]
        if call.output.as_json:
            call.output.objects(views)
        elif views:
            call.output.table(COLUMNS, [_cells(view) for view in views], narrow=NARROW)
        else:
            call.output.note("No workers.")

    run(main)


def _view(session: SessionInfo, now: int) -> WorkerView:
    return WorkerView(
        name=session.name,
        session=session.session,
        state="alive" if session.expires > now else "expired",
        running=session.running,
        opened=instant(session.opened),
        expires=instant(session.expires),
        lease_ms=session.lease_ms,
        info=embedded(session.info),
    )


def _cells(view: WorkerView) -> list[str]:
    about = ""
    if isinstance(view.info, Raw):
        said = msgspec.json.decode(view.info)
        if isinstance(said, dict):
            items = cast("dict[str, object]", said).items()
            # `handlers` tells their number; what they take is for programs.
            told = (f"{key}={_text(value)}" for key, value in items if key != "offers")
            about = ", ".join(told)
    return [view.name, view.state, str(view.running), view.opened or "", about]


def _text(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, cast("list[object]", value)))
    return str(value)
