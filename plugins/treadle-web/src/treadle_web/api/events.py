"""What happens to jobs: live, as server-sent events, and page by page."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from treadle.cli.views import instant
from treadle.domain.job import Ref
from treadle.errors import BrokerError, ConfigurationError
from treadle_web import activity
from treadle_web.activity import Happened, with_types
from treadle_web.edge import PATIENCE
from treadle_web.feed import Chunk, Listener
from treadle_web.operation import Ask, Principal, Reply, Scope, operation, reply
from treadle_web.problems import Refusal, invalid
from treadle_web.requests import LAST_EVENT_ID, Cursor, JobId, Limit, Name, given
from treadle_web.web import Web

TEXT: Final = "text/event-stream"
_RECONNECT_MS: Final = 2_000
_LONGEST: Final = 512


class Happening(Struct, frozen=True, kw_only=True):
    """One event of one job."""

    at: str | None
    event: str
    """As the state machine names it: `enqueue`, `claim`, `succeed`, `fail`, `request_cancel`, ..."""
    queue: str
    id: str
    type: str | None
    """Null where nobody looked, or the record is gone."""
    state: str
    """The stored state after it; empty if the record is gone."""


class Frame(Struct, frozen=True, kw_only=True):
    """One server-sent event."""

    event: Literal["open", "job", "gap"]
    """`gap`: events were dropped before they were read; what is known from events is to be read anew."""
    id: str
    """Sent back as Last-Event-ID, or as `since`, it is where a stream goes on."""
    data: Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/json"})]
    """JSON: of a `job` what a line of /api/v1/logs has, else the cursor."""


class LogLine(Happening, frozen=True, kw_only=True):
    """One event of one job, and its place."""

    cursor: str


class LogPage(Struct, frozen=True, kw_only=True):
    """Events of jobs, the oldest first, and where the log goes on."""

    items: tuple[LogLine, ...]
    cursor: str
    """Ask again with it, now or later: a log has no end. A page may be empty."""
    complete: bool
    """Nothing had happened after these when they were read."""
    gap: bool
    """Older events were dropped before they were read: the log holds the last 10,000."""


class Heard(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which events: what is left out matches all."""

    queue: Name | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    """Costs a look at each job; without it the type is not told in a stream."""
    job: JobId | UnsetType = UNSET


class EventQuery(Heard, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A stream of events."""

    since: Annotated[str, Meta(max_length=_LONGEST)] | UnsetType = UNSET
    """The id of an event: begin behind it. The header Last-Event-ID goes before it."""


class LogQuery(Heard, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A page of the log."""

    cursor: Cursor | UnsetType = UNSET
    """Without it the page begins with the oldest event that is kept."""
    limit: Limit = 100


@operation(
    "GET",
    "/api/v1/events",
    scope=Scope.READ,
    query=EventQuery,
    answer=Frame,
    media_type=TEXT,
    headers=(LAST_EVENT_ID,),
)
async def stream_events(ask: Ask[EventQuery, None]) -> Reply:
    """Tell what happens to jobs as it happens: server-sent events `open`, `job` and `gap`."""
    query, feed = ask.query, ask.web.feed
    told = ask.request.headers.get(LAST_EVENT_ID)
    after = told or given(query.since) or None
    if told == "" or (after is not None and len(after) > _LONGEST):
        raise invalid("this is no id of an event", f"$header.{LAST_EVENT_ID}")
    if feed.full or feed.closed:
        text = "as many listen as may: ask again later"
        raise Refusal(503, "too_many_listeners", text, headers={"Retry-After": "10"})
    stream = _Stream(ask.web, ask.who, query, await feed.listen(after))
    try:
        await stream.begin()
    except BaseException as error:
        stream.close()
        if isinstance(error, ConfigurationError):
            path = f"$header.{LAST_EVENT_ID}" if told else "$query.since"
            raise invalid(f"{error}: begin without one", path) from None
        raise
    ask.request.scope[PATIENCE].lift()
    return Reply(media_type=TEXT, headers={"X-Accel-Buffering": "no"}, parts=stream)


@operation("GET", "/api/v1/logs", scope=Scope.READ, query=LogQuery, answer=LogPage)
async def list_activity(ask: Ask[LogQuery, None]) -> Reply:
    """Tell what happened to all jobs, a page at a time, the oldest first."""
    query, broker = ask.query, await ask.web.broker()
    cursor = activity.OLDEST if isinstance(query.cursor, UnsetType) else query.cursor
    try:
        found = await activity.read(broker, ask.web.types, cursor, limit=query.limit)
    except ConfigurationError as error:
        raise invalid(str(error), "$query.cursor") from None
    fits = _Fits(ask.who, query)
    items = [
        LogLine(**_fields(one), cursor=one.cursor)
        for one in found.items
        if fits.place(one.queue, one.id) and fits.kind(one.type)
    ]
    complete = len(found.items) < query.limit
    page = LogPage(items=tuple(items), cursor=found.cursor, complete=complete, gap=found.gap)
    return reply(page)


class _Fits:
    """Which events somebody asked for and may see."""

    def __init__(self, who: Principal, heard: Heard) -> None:
        self._who = who
        self._queue, self._job = given(heard.queue), given(heard.job)
        self.type = given(heard.type)
        self.all = who.queues is None and not (self._queue or self._job or self.type)

    def place(self, queue: str, id: str) -> bool:
        return self._queue in (None, queue) and self._job in (None, id) and self._who.may_use(queue)

    def kind(self, kind: str | None) -> bool:
        return self.type in (None, kind)


class _Stream:
    """One listener's events, as they are sent."""

    def __init__(self, web: Web, who: Principal, heard: Heard, listener: Listener) -> None:
        self._web = web
        self._fits = _Fits(who, heard)
        self._listener = listener
        self._ends = time.monotonic() + web.limits.stream_s
        self._first = b""

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    async def begin(self) -> None:
        """Make the first part, and see whether the cursor is one."""
        opened = _frame("open", self._listener.cursor, {"cursor": self._listener.cursor})
        self._first = b"retry: %d\n\n%s" % (_RECONNECT_MS, opened)
        if (chunk := await self._listener.past()) is not None:
            self._listener.cursor = chunk.cursor
            self._first += await self._framed(chunk)

    async def next(self) -> bytes | None:
        """Wait for what happens; a comment keeps a silent connection open."""
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await self._next()
        except BrokerError:  # whoever listens comes back with the id of the last event
            return None

    async def _next(self) -> bytes | None:
        while (left := self._ends - time.monotonic()) > 0 and not self._web.feed.closed:
            wait_s = min(self._web.limits.keep_alive_s, left)
            chunk = await self._listener.next(wait_s)
            if chunk is None and left > wait_s and not self._web.feed.closed:
                # The id lets who heard nothing for long go on from here, not from far behind.
                return f": keep-alive\nid: {self._listener.cursor}\n\n".encode()
            if chunk is not None and (framed := await self._framed(chunk)):
                return framed
        return None

    async def _framed(self, chunk: Chunk) -> bytes:
        if chunk.gap:
            return _frame("gap", chunk.cursor, {"cursor": chunk.cursor})
        fits = self._fits
        if fits.type is None:
            frames = _plain_frames(chunk)
            if fits.all:
                return b"".join(frames)
            pairs = zip(chunk.entries, frames, strict=True)
            return b"".join(frame for entry, frame in pairs if fits.place(entry.queue, entry.id))
        entries = [entry for entry in chunk.entries if fits.place(entry.queue, entry.id)]
        refs = [Ref(entry.queue, entry.id) for entry in entries]
        types = await self._web.types.of(await self._web.broker(), refs)
        return b"".join(_job(one) for one in with_types(entries, types) if fits.kind(one.type))


def _plain_frames(chunk: Chunk) -> tuple[bytes, ...]:
    """Make the frames of a chunk once, for all who listen."""
    if chunk.frames is None:
        chunk.frames = tuple(_job(one) for one in with_types(chunk.entries, {}))
    return chunk.frames


def _fields(one: Happened) -> dict[str, Any]:
    return {
        "at": instant(one.at),
        "event": one.event,
        "queue": one.queue,
        "id": one.id,
        "type": one.type,
        "state": one.state,
    }


def _job(one: Happened) -> bytes:
    return _frame("job", one.cursor, _fields(one))


def _frame(event: str, cursor: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (
        event.encode(),
        cursor.encode(),
        msgspec.json.encode(data),
    )


OPERATIONS = (stream_events, list_activity)
