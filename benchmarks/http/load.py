"""The load: prepared HTTP/1.1 requests over keep-alive connections, from a process of its own.

`python -m benchmarks.http.load` reads one `Plan` from stdin and writes one `Seen`. A client that costs
as much as the server would halve what two cores can show, so nothing here understands HTTP beyond
the length of an answer.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

_LENGTH = b"content-length: "
_END = b"\r\n\r\n"


class Plan(Struct, frozen=True, kw_only=True):
    """What to send, how, and for how long."""

    port: int
    method: str = "GET"
    path: str
    body: str = ""
    token: str = ""
    connections: int = 64
    seconds: float = 5.0
    rate: float = 0.0
    """Requests per second, whether answers come or not; 0 = each connection asks again at once."""


class Seen(Struct, frozen=True, kw_only=True):
    """What came back."""

    answers: int
    refused: int
    """Answers with another status than 2xx."""
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float
    """Processor time of the client."""


class _Connection(asyncio.Protocol):
    """Sends one request at a time; `done` hears when it was due and whether the answer was good."""

    def __init__(self, done: Callable[[_Connection, float, bool], None]) -> None:
        self._done = done
        self._transport: Any = None
        self._heard = b""
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        heard = self._heard = self._heard + data if self._heard else data
        end = heard.find(_END)
        if end < 0:
            return
        head = heard[:end].lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(heard) < end + len(_END) + length:
            return
        self._heard = b""
        self._done(self, self._due, head[9:10] == b"2")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None and not self._transport.is_closing():
            raise ConnectionError("the server closed a connection") from exc

    def close(self) -> None:
        self._transport.close()


class _Load:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._took: list[float] = []
        self._refused = 0
        self._free: deque[_Connection] = deque()
        self._late: deque[float] = deque()
        """When requests were due that found no free connection."""
        body = plan.body.encode()
        lines = [
            f"{plan.method} {plan.path} HTTP/1.1",
            "Host: 127.0.0.1",
            *([f"Authorization: Bearer {plan.token}"] if plan.token else []),
            *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
        ]
        self._request = "\r\n".join(lines).encode() + _END + body

    async def run(self) -> Seen:
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(
                lambda: _Connection(self._answered), "127.0.0.1", self._plan.port
            )
            for _ in range(self._plan.connections)
        ]
        connections = [protocol for _, protocol in opened]
        self._free.extend(connections)
        began, cpu = time.perf_counter(), time.process_time()
        self._until = began + self._plan.seconds
        if self._plan.rate:
            await self._at_a_rate(began)
        else:
            while self._free:
                self._free.popleft().ask(self._request, time.perf_counter())
            await asyncio.sleep(self._plan.seconds)
        seconds = time.perf_counter() - began
        took = sorted(self._took)
        for connection in connections:
            connection.close()
        return Seen(
            answers=len(took),
            refused=self._refused,
            seconds=round(seconds, 3),
            per_second=round(len(took) / seconds, 1),
            p50_ms=_ms(took, 0.5),
            p99_ms=_ms(took, 0.99),
            max_ms=_ms(took, 1.0),
            cpu_s=round(time.process_time() - cpu, 3),
        )

    async def _at_a_rate(self, began: float) -> None:
        sent = 0
        while (now := time.perf_counter()) < self._until:
            while began + sent / self._plan.rate <= now:
                due = began + sent / self._plan.rate
                sent += 1
                if self._free:
                    self._free.popleft().ask(self._request, due)
                else:
                    self._late.append(due)
            await asyncio.sleep(0.001)

    def _answered(self, connection: _Connection, due: float, good: bool) -> None:
        now = time.perf_counter()
        self._took.append(now - due)
        self._refused += not good
        if now >= self._until:
            return
        if not self._plan.rate:
            connection.ask(self._request, now)
        elif self._late:
            connection.ask(self._request, self._late.popleft())
        else:
            self._free.append(connection)


def _ms(took: list[float], part: float) -> float:
    if not took:
        return 0.0
    return round(took[min(int(len(took) * part), len(took) - 1)] * 1_000, 2)


def main() -> None:
    """Run the plan on stdin."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # its pauses would be taken for the server's
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - where it is installed

        seen = uvloop.run(_Load(plan).run())
    else:
        seen = asyncio.run(_Load(plan).run())
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
