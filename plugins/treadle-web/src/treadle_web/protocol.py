"""The HTTP/1.1 connection of `qrun web`: httptools, and the bounds that it does not have itself.

h11, which has them, takes three times as long for a request. What could grow without end is what the
parser keeps of a line or a header that is not complete: who sends more than the limit without
completing anything is cut off. Headers that are complete are kept as far as the limit goes, and one
more: the edge refuses such a head like everything else that it refuses.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from treadle_web.asked import WHOLE
from treadle_web.web import DEFAULT_LIMITS, Limits

_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)
_TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Corked:
    """A transport that sends the head of an answer with what follows it: one system call, one segment."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

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


class Bounded(HttpToolsProtocol):
    """One connection; its limit is the `h11_max_incomplete_event_size` of the configuration."""

    head_s = DEFAULT_LIMITS.head_s

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; who says nothing at all is hung up on like who says nothing more."""
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
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Call the application."""
        self._called = True
        self._head_came()
        super().on_headers_complete()

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

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
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._heard = True
        super().on_body(body)


def bounded(limits: Limits) -> type[Bounded]:
    """Return the connection with the limits of a server."""

    class Limited(Bounded):
        head_s = limits.head_s

    return Limited
