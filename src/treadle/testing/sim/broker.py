"""The broker that simulated processes hold: every call goes through the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.broker.base import (
    BrokerBase,
    Capability,
    Claimed,
    Conflict,
    Description,
    Document,
    Durability,
    Enqueued,
    Events,
    Filter,
    Lease,
    Note,
    Noted,
    Notes,
    Opened,
    Order,
    Overdue,
    Page,
    Pulse,
    SessionInfo,
    Settled,
    Stats,
    Turned,
)
from treadle.broker.url import BrokerUrl, parse
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write
from treadle.errors import BrokerUnavailable, Uncertain
from treadle.testing.sim.machine import Machine
from treadle.testing.sim.network import Call, Network

URL: BrokerUrl = parse("memory://simulation")


class SimBroker(BrokerBase):
    """One process's connection; `machine` says which process it is that calls."""

    capabilities = frozenset({Capability.PUSH, Capability.FUSED})

    def __init__(self, network: Network, machine: Callable[[], Machine]) -> None:
        super().__init__(URL)
        self._network = network
        self._machine = machine

    def another(self) -> SimBroker:
        """Make a second connection of the same process."""
        return SimBroker(self._network, self._machine)

    async def connect(self) -> None:
        """Do nothing: the first call will tell."""

    async def disconnect(self) -> None:
        """Do nothing: the server hears of a death, or does not."""

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        """Call the operation of that name on the server."""
        answer: Opened = await self._call("open", name, lease_ms, info)
        return answer

    async def close(self, session: str) -> None:
        """Call the operation of that name on the server."""
        await self._call("close", session)

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Call the operation of that name on the server."""
        answer: Enqueued = await self._call("enqueue", tuple(jobs))
        return answer

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        """Call the operation of that name on the server."""
        answer: Claimed = await self._call("claim", session, tuple(queues), limit, wait_ms)
        return answer

    async def apply(self, writes: Sequence[Write]) -> Settled:
        """Call the operation of that name on the server."""
        answer: Settled = await self._call("apply", tuple(writes))
        return answer

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        """Call the operation of that name on the server."""
        answer: Turned = await self._call("turn", session, tuple(writes), tuple(queues), limit)
        return answer

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        """Call the operation of that name on the server."""
        answer: Pulse = await self._call("heartbeat", session, tuple(held))
        return answer

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        """Call the operation of that name on the server."""
        answer: Sequence[Noted | Conflict] = await self._call("note", session, tuple(items))
        return answer

    async def overdue(self, limit: int) -> Overdue:
        """Call the operation of that name on the server."""
        answer: Overdue = await self._call("overdue", limit)
        return answer

    async def purge(self, limit: int) -> int:
        """Call the operation of that name on the server."""
        answer: int = await self._call("purge", limit)
        return answer

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        """Call the operation of that name on the server."""
        answer: Sequence[Record | None] = await self._call("get", tuple(refs))
        return answer

    async def notes(self, ref: Ref) -> Notes:
        """Call the operation of that name on the server."""
        answer: Notes = await self._call("notes", ref)
        return answer

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Call the operation of that name on the server."""
        answer: Page = await self._call("find", filter, order, cursor, limit)
        return answer

    async def stats(self) -> Stats:
        """Call the operation of that name on the server."""
        answer: Stats = await self._call("stats")
        return answer

    async def sessions(self) -> Sequence[SessionInfo]:
        """Call the operation of that name on the server."""
        answer: Sequence[SessionInfo] = await self._call("sessions")
        return answer

    async def pause(self, queue: str, paused: bool) -> None:
        """Call the operation of that name on the server."""
        await self._call("pause", queue, paused)

    async def set_limit(self, key: str, running: int | None) -> None:
        """Call the operation of that name on the server."""
        await self._call("set_limit", key, running)

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        """Call the operation of that name on the server."""
        await self._call("set_queue_limit", queue, waiting)

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        """Call the operation of that name on the server."""
        answer: tuple[tuple[str, str, int], ...] = await self._call("limits")
        return answer

    async def document(self, name: str) -> Document | None:
        """Call the operation of that name on the server."""
        answer: Document | None = await self._call("document", name)
        return answer

    async def documents(self, prefix: str) -> Sequence[Document]:
        """Call the operation of that name on the server."""
        answer: Sequence[Document] = await self._call("documents", prefix)
        return answer

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        """Call the operation of that name on the server."""
        answer: Document | None = await self._call("put_document", name, data, version)
        return answer

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        """Call the operation of that name on the server."""
        waits = 0 if after is None else wait_ms
        answer: Events = await self._call("events", after, limit, waits)
        return answer

    async def erase(self) -> None:
        """Refuse: the store of a simulation ends with its run."""
        raise BrokerUnavailable("a simulated store cannot be erased: it ends with its run")

    async def describe(self) -> Description:
        """Say that it is no store to keep anything in."""
        return Description(name="simulation", version="", durability=Durability.NONE)

    async def _call(self, op: str, *args: Any) -> Any:
        machine = self._machine()
        await machine.before_call()
        call = Call(machine, op, args)
        self._network.send(call)
        try:
            await call.answered.wait()
        except BaseException:
            self._network.give_up(call)
            raise
        await machine.after_call()
        answer = call.answer
        if isinstance(answer, BrokerUnavailable) and op == "enqueue" and not call.refused:
            ids = [job.id for job in args[0]]
            raise Uncertain(str(answer), ids=ids) from None
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args, **vars(answer)) from None
        return answer
