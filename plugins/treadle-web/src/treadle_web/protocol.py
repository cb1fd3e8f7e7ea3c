"""The HTTP/1.1 connection of `qrun web`: httptools, and the bounds that it does not have itself.

h11, which has them, takes three times as long for a request. What could grow without end is what the
parser keeps of a line or a header that is not complete: who sends more than the limit without
completing anything is cut off. Headers that are complete are kept as far as the limit goes, and one
more: the edge refuses such a head like everything else that it refuses.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from treadle_web.answering import AT_ONCE, tell
from treadle_web.asked import WHOLE
from treadle_web.operation import Reply
from treadle_web.problems import MEDIA_TYPE, RETRY_AFTER_S, Refusal
from treadle_web.web import DEFAULT_LIMITS, Limits

_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)
_CONSTANT: Final = frozenset(
    {
        b"cache-control",
        b"content-security-policy",
        b"content-type",
        b"cross-origin-resource-policy",
        b"referrer-policy",
        b"x-content-type-options",
    }
)
"""Headers that are alike in almost all answers."""
_PLAIN: Final = frozenset({b"date", b"etag", b"location", b"retry-after", b"x-request-id"})
"""Headers that say nothing about the connection."""
_CONTROLS: Final = bytes((*range(9), *range(10, 32), 127))
_REMEMBERED: Final = 64
_LINES: Final[dict[tuple[bytes, bytes], bytes]] = {}
"""The lines of headers that were sent before."""
_TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


async def _come_later(scope: object, receive: object, send: Any) -> None:
    """Answer who comes while all connections are taken."""
    del scope, receive
    refusal = Refusal(503, "too_many_connections", "as many are connected as may: come later")
    headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
    content = msgspec.json.encode(refusal.problem())
    await tell(Reply(status=503, content=content, media_type=MEDIA_TYPE, headers=headers), send)


class Corked:
    """A transport that sends the head of an answer with what follows it: one system call, one segment."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""
        self.is_closing = transport.is_closing  # asked with each answer

    def write(self, data: bytes) -> None:
        """Send it; a head waits for the rest, to the end of this turn of the loop at most."""
        if self._kept:
            data, self._kept = self._kept + data, b""
        elif data.endswith(b"\r\n\r\n"):
            self._kept = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send what waits, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data, self._kept = self._kept, b""
        if data:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Whole(RequestResponseCycle):
    """One request and its answer; what is answered at once is made and sent in one piece."""

    _start: Any = None
    """How the answer starts whose content comes next."""

    async def send(self, message: Any) -> None:
        """Take a part of the answer."""
        start, self._start = self._start, None
        if start is None:
            if AT_ONCE in message:
                self._start = message
            else:
                await super().send(message)
        elif message["type"] == "http.response.start":  # it went wrong in between
            await super().send(message)
        elif (whole := self._whole(start, message)) is None:
            await super().send(start)
            await super().send(message)
        else:
            self.response_started = self.response_complete = True
            self.waiting_for_100_continue = False
            self.message_event.set()
            self.transport.write(whole)
            self.on_response()

    def _whole(self, start: Message, message: Message) -> bytes | None:
        """Return all of an answer; None if anything about it is out of the ordinary."""
        status, body = start["status"], message.get("body", b"")
        if (
            message.get("more_body")
            or not self.keep_alive
            or self.disconnected
            or self.response_started
            or self.access_log
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
        ):
            return None
        lines, length, fresh = [STATUS_LINE[status]], b"", b""
        for header in chain(self.default_headers, start["headers"]):
            line = _LINES.get(header)
            if line is None:
                name, value = header
                line = b"%b: %b\r\n" % header
                if name == b"content-length":
                    length = value
                elif name in _CONSTANT:
                    if len(_LINES) < _REMEMBERED and value == value.translate(None, _CONTROLS):
                        _LINES[header] = line
                elif name not in _PLAIN:
                    return None
                fresh += value
            lines.append(line)
        if fresh != fresh.translate(None, _CONTROLS) or length != b"%d" % len(body):
            return None  # uvicorn refuses it, and says why
        lines += (b"\r\n", body)
        return b"".join(lines)


class Bounded(HttpToolsProtocol):
    """One connection; its limit is the `h11_max_incomplete_event_size` of the configuration."""

    head_s = DEFAULT_LIMITS.head_s
    unread_s = DEFAULT_LIMITS.unread_s
    app: Any

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limit = self.config.h11_max_incomplete_event_size or 0
        self._heard = False
        """The parser completed something of the present read."""
        self._called = False
        """The present read brought the end of a head."""
        self._incomplete = 0
        """How many bytes came since it last did."""
        self._kept = 0
        """How many bytes the headers of the present request have."""
        self._head_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; who says nothing at all is hung up on like who says nothing more."""
        transport.set_write_buffer_limits(high=0)  # so that we hear of anything that lies unread
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop)))
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Parse what came, and hang up if nothing is ever completed."""
        self._heard = self._called = False
        super().data_received(data)
        cycle: Any = self.cycle  # None before the first request
        if (
            self._head_due is None
            and not self._called
            and (cycle is None or cycle.response_complete)
        ):
            self._head_due = self.loop.call_later(self.head_s, self._head_is_late)
        if self._heard:
            self._incomplete = 0
            return
        self._incomplete += len(data)
        if self._incomplete > self._limit and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._head_came()
        self._was_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Hang up on who does not read on: nothing else would ever end that connection."""
        super().pause_writing()
        self._was_read()
        self._read_due = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: all that was sent so far is on its way."""
        self._was_read()
        super().resume_writing()

    def on_headers_complete(self) -> None:
        """Call the application."""
        self._called = True
        self._head_came()
        parser: Any = self.parser
        version: str = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope: Any = self.scope
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        cycle = Whole(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        before: Any = self.cycle  # None before the first request
        self.cycle = cycle
        app = self.app
        most = self.limit_concurrency
        if most is not None and max(len(self.connections), len(self.tasks)) >= most:
            self.logger.warning("Exceeded concurrency limit.")
            app = _come_later
        if before is None or before.response_complete:
            task = self.loop.create_task(cycle.run_asgi(app))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _was_read(self) -> None:
        if self._read_due is not None:
            self._read_due.cancel()
            self._read_due = None

    def _head_is_late(self) -> None:
        """Hang up on who sends a head that never ends, a byte now and then."""
        self._head_due = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_LATE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._kept = 0
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Tell the application, if it was not called yet, that it need not wait for the body."""
        super().on_message_complete()
        self.scope[WHOLE] = True  # type: ignore[typeddict-unknown-key]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and none after the limit was passed."""
        self._heard = True
        if self._kept <= self._limit:
            self._kept += len(name) + len(value)
            name = name.lower()
            if name == b"expect":
                super().on_header(name, value)
            else:
                self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._heard = True
        super().on_body(body)


def bounded(limits: Limits) -> type[Bounded]:
    """Return the connection with the limits of a server."""

    class Limited(Bounded):
        head_s = limits.head_s
        unread_s = limits.unread_s

    return Limited
