"""Reading the log: copies of new messages as they come, and stretches of old ones on request."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Final

from msgspec import Struct
from nats import errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from treadle.errors import BrokerUnavailable
from treadle_nats.link import Link, NotSent, told
from treadle_nats.streams import milliseconds

_BATCH: Final = 256
_BATCH_BYTES: Final = 8 * 1024 * 1024
_PATIENCE_S: Final = 2.0


class Entry(Struct, frozen=True):
    """One message of a stream."""

    seq: int
    at: int
    subject: str
    id: str
    """What its sender called it; "" if it is not from one of us."""
    data: bytes


class Feed:
    """Reads one stream."""

    def __init__(self, link: Link, stream: str) -> None:
        self._link = link
        self._stream = stream
        self._live: Subscription | None = None

    async def follow(self, subject: str, heard: Callable[[Entry], object]) -> None:
        """Call `heard` with each new message; some may be missing, which their numbers show.

        Raises:
            BrokerUnavailable: if the user may not hear them.
        """

        async def hear(message: Msg) -> None:
            entry = _entry(message, self._stream)
            if entry is not None:
                heard(entry)

        self._live = await self._link.client.subscribe(  # pyright: ignore[reportUnknownMemberType] # its futures have no type
            subject, cb=hear, pending_msgs_limit=65_536, pending_bytes_limit=64 * 1024 * 1024
        )
        for _ in range(2):  # the driver's first ping overtakes what it was about to send
            await self._link.client.flush(5)
        if self._link.denied(subject):
            raise BrokerUnavailable(f"{self._link.address.shown}: {self._link.denied(subject)}")

    async def stop(self) -> None:
        """Hear no more."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(errors.Error, OSError):
                await live.unsubscribe()

    async def read(self, first: int, subject: str) -> AsyncGenerator[Entry]:
        """Yield the stored messages from number `first` on, as far as they go.

        Raises:
            BrokerUnavailable: if the server does not answer.
        """
        while True:
            batch = await self._batch(first, subject)
            for entry in batch:
                yield entry
                first = entry.seq + 1
            if not batch:
                return

    async def _batch(self, first: int, subject: str) -> list[Entry]:
        client = self._link.client
        if not client.is_connected:
            raise NotSent(f"not connected to {self._link.address.shown}")
        body = {"seq": first, "batch": _BATCH, "max_bytes": _BATCH_BYTES, "next_by_subj": subject}
        inbox = client.new_inbox()
        found: list[Entry] = []
        try:
            answers = await client.subscribe(inbox)  # pyright: ignore[reportUnknownMemberType] # the same
            try:
                to = f"{self._link.address.api}.DIRECT.GET.{self._stream}"
                await client.publish(to, json.dumps(body).encode(), reply=inbox)
                while True:
                    entry = _entry(await answers.next_msg(timeout=_PATIENCE_S), self._stream)
                    if entry is None:
                        return found
                    found.append(entry)
            finally:
                await answers.unsubscribe()
        except (errors.Error, OSError, TimeoutError) as error:
            raise BrokerUnavailable(
                f"{self._link.address.shown} did not show the log: {told(error)}"
            ) from error


def _entry(message: Msg, stream: str) -> Entry | None:
    """Read a message that the server shows; None if it is the end of an answer, or from somebody else."""
    headers = message.headers or {}
    if headers.get("Nats-Stream") != stream:
        return None
    try:
        return Entry(
            int(headers["Nats-Sequence"]),
            milliseconds(headers["Nats-Time-Stamp"]),
            headers["Nats-Subject"],
            headers.get("Nats-Msg-Id", ""),
            message.data,
        )
    except (KeyError, ValueError):
        return None
