"""Whether a connection is still good, as the system knows it before the event loop does.

A server that hangs up, or was restarted, is heard of only when the loop looks at its sockets again.
Asking the system costs a few microseconds, and no turn of the loop: other tasks may hold it for long,
and what was not sent before keeps the server idle meanwhile.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any, Final

from redis.exceptions import RedisError

from treadle_redis.channel import Channel

_IDLE_S: Final = 0.005
_WRITER: Final = "_writer"


class Line:
    """An open connection, between two calls."""

    def __init__(self, channel: Channel, *, is_plain: bool) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._used = self._loop.time()
        # redis-py has no public way to send without waiting
        self._writer: asyncio.StreamWriter | None = getattr(channel, _WRITER)
        self._poll: Any = None
        if is_plain and self._writer is not None and hasattr(select, "poll"):
            # What TLS itself says looks like a reply here: only plain connections can be asked.
            self._poll = select.poll()
            self._poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
            # uvloop keeps writes back till the other tasks had their turn, up to that many bytes
            self._writer.transport.set_write_buffer_limits(high=0)

    def hears_nothing(self) -> bool:
        """Tell whether something can be sent at once: the server neither hung up nor said anything."""
        return self._poll is not None and self._is_silent() and not self._poll.poll(0)

    def send(self, packed: bytes) -> None:
        """Send commands without waiting; if that fails, their replies will not come."""
        if self._writer is not None:
            self._writer.write(packed)

    async def is_good(self) -> bool:
        """Tell whether the server neither hung up nor left a reply behind."""
        if self._poll is not None:
            return self.hears_nothing()
        if self._loop.time() - self._used > _IDLE_S:
            for _ in range(2):  # what the server did meanwhile is heard of first
                await asyncio.sleep(0)
        self._used = self._loop.time()
        return self._is_silent()

    def _is_silent(self) -> bool:
        """Tell whether redis-py has heard nothing; it answers without waiting."""
        if not self._channel.is_connected:
            return False
        asked = self._channel.can_read()
        try:
            asked.send(None)
        except StopIteration as answer:
            return not answer.value
        except (RedisError, OSError):
            return False
        asked.close()
        return False
