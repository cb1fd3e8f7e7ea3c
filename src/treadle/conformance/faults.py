"""A bad way to a good store: requests and replies that get lost, come late, come twice, or never.

`FaultyBroker` is a layer around any broker. What happens to each call is written into a script, or
chosen by a seed; the same seed and the same calls give the same faults. It keeps the sentence of the
protocol about errors: a lost request raises `BrokerUnavailable` and had no effect; a lost reply raises
`Uncertain` from `enqueue`, and from any other call `BrokerUnavailable` although the call was carried
out: that of a write the fence shows, what a claim gave is found by `heartbeat` as orphans, and
where the call may be repeated it makes no difference.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from random import Random
from typing import Final, TypeVar

import anyio
from msgspec import Struct

from treadle.broker.base import Broker, Enqueued
from treadle.conformance.layer import Layer
from treadle.domain.job import Job
from treadle.errors import BrokerUnavailable, Uncertain

T = TypeVar("T")


class Fault(StrEnum):
    """What can happen to a call."""

    LOSE_REQUEST = "lose_request"
    """It does not arrive."""
    LOSE_REPLY = "lose_reply"
    """It is carried out, and nobody hears of it."""
    TWICE = "twice"
    """It arrives twice; the caller gets the first answer."""
    RESENT = "resent"
    """The first answer gets lost and a driver asks again; the caller gets the second answer."""
    HANG = "hang"
    """It arrives and is never answered: the caller waits until it is cancelled."""


READS: Final = frozenset(
    {"overdue", "get", "notes", "find", "stats", "sessions", "limits", "document", "documents"}
    | {"events", "describe"}
)
HARMLESS_TWICE: Final = READS | {
    *("connect", "close", "enqueue", "apply", "heartbeat"),
    *("pause", "set_limit", "set_queue_limit"),
}
"""The calls that the protocol allows to repeat."""
SPARED: Final = frozenset({"disconnect", "erase"})
"""These only clean up: nothing ever happens to them."""
BY_CHANCE: Final = READS | {"enqueue", "claim", "apply", "turn", "heartbeat", "note"}
"""The calls that a seed makes trouble for; the others are asked seldom, and only by people."""


class Rates(Struct, frozen=True, kw_only=True):
    """How often something happens to a call, as probabilities; their sum is at most 1."""

    lose_request: float = 0.03
    lose_reply: float = 0.03
    twice: float = 0.02
    resent: float = 0.02
    hang: float = 0.0
    outage: float = 0.0
    """The way is cut for a while."""
    delay: float = 0.1
    """On top of anything else, before and after the call."""
    most_delay_s: float = 1.0
    most_outage_s: float = 10.0


NEVER: Final = Rates(lose_request=0, lose_reply=0, twice=0, resent=0, delay=0)


class Faults:
    """What happens on the way now, to all brokers that share it.

    `rng` chooses by `rates`; without it only what is scripted happens.
    """

    def __init__(self, rng: Random | None = None, rates: Rates | None = None) -> None:
        self.calls: Counter[str] = Counter()
        """How often each call was asked for."""
        self.told: list[tuple[str, Fault]] = []
        """What has happened so far, in its order."""
        self.request_delays: dict[str, float] = {}
        """So many seconds each call of a name is under way."""
        self.reply_delays: dict[str, float] = {}
        self.most: dict[str, int] = {}
        """More calls than this raise AssertionError: who asks without end shall not go on."""
        self._rng = rng
        self._rates = rates or (NEVER if rng is None else Rates())
        self._script: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._cut: set[str] = set()
        self._all_cut = False
        self._cut_until = -math.inf
        self._held: dict[str, anyio.Event] = {}

    def script(self, call: str, *faults: Fault) -> None:
        """Let this happen to the next calls of a name, one after the other.

        Raises:
            ValueError: if a call would be doubled that must not be.
        """
        for fault in faults:
            if fault in {Fault.TWICE, Fault.RESENT} and call not in HARMLESS_TWICE:
                raise ValueError(f"the protocol does not allow to call {call} twice")
        self._script[call].extend(faults)

    def cut(self, *calls: str) -> None:
        """Let no call of these names through until `mend`; without a name, none at all."""
        self._cut.update(calls)
        self._all_cut = self._all_cut or not calls

    def mend(self) -> None:
        """Let everything through again that is cut."""
        self._cut.clear()
        self._all_cut = False
        self._cut_until = -math.inf

    def hold(self, call: str) -> None:
        """Let calls of this name wait before they arrive, until `let_go`."""
        self._held.setdefault(call, anyio.Event())

    def let_go(self, call: str) -> None:
        """Let the calls arrive that are held."""
        held = self._held.pop(call, None)
        if held is not None:
            held.set()

    async def request(self, call: str) -> Fault | None:
        """Bring a request to the store; return what shall happen to its reply.

        Raises:
            BrokerUnavailable: if it does not arrive.
        """
        self.calls[call] += 1
        if self.calls[call] > self.most.get(call, self.calls[call]):
            raise AssertionError(f"{call} was called more than {self.most[call]} times")
        fault = self._next(call)
        await self._delay(call, self.request_delays)
        if call in self._held:
            await self._held[call].wait()
        if self._is_cut(call):
            raise BrokerUnavailable(f"cannot reach the broker: {call} was not sent")
        if fault is not None:
            self.told.append((call, fault))
        if fault is Fault.LOSE_REQUEST:
            raise BrokerUnavailable(f"connection lost before {call} arrived")
        return fault

    async def reply(self, call: str, fault: Fault | None) -> bool:
        """Bring an answer back; tell whether it arrives. It does not if the way was cut meanwhile."""
        await self._delay(call, self.reply_delays)
        if fault is Fault.HANG:
            await anyio.sleep_forever()
        return fault is not Fault.LOSE_REPLY and not self._is_cut(call)

    def _is_cut(self, call: str) -> bool:
        if self._all_cut or call in self._cut:
            return True
        return self._cut_until > -math.inf and anyio.current_time() < self._cut_until

    async def _delay(self, call: str, delays: dict[str, float]) -> None:
        seconds = delays.get(call, 0.0)
        if self._rng is not None and call in BY_CHANCE:
            # Both are drawn for every call, so that one fault less does not move all others.
            happens, share = self._rng.random() < self._rates.delay, self._rng.random()
            seconds += share * self._rates.most_delay_s if happens else 0.0
        if seconds > 0:
            await anyio.sleep(seconds)

    def _next(self, call: str) -> Fault | None:
        if self._script[call]:
            return self._script[call].popleft()
        if self._rng is None or call not in BY_CHANCE:
            return None
        drawn, length = self._rng.random(), self._rng.random()
        rates = self._rates
        if drawn < rates.outage:
            self._cut_until = anyio.current_time() + length * rates.most_outage_s
            return None
        drawn -= rates.outage
        for fault in Fault:
            rate: float = getattr(rates, fault.value)
            if drawn < rate:
                doubled = fault in {Fault.TWICE, Fault.RESENT}
                return None if doubled and call not in HARMLESS_TWICE else fault
            drawn -= rate
        return None


class FaultyBroker(Layer):
    """Any broker at the end of a bad way."""

    def __init__(self, inner: Broker, faults: Faults) -> None:
        super().__init__(inner)
        self.faults = faults

    def another(self) -> Broker:
        """Make an unconnected broker on the same store, at the end of the same way."""
        return FaultyBroker(self.inner.another(), self.faults)

    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:
        """Carry a call as the way allows."""
        lost = BrokerUnavailable(f"connection lost during {call}")
        return await self._carry(call, run, lost)

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store jobs; a reply that gets lost leaves it uncertain whether they are stored."""
        ids = [job.id for job in jobs]
        lost = Uncertain("connection lost during enqueue", ids=ids)
        return await self._carry("enqueue", lambda: self.inner.enqueue(jobs), lost)

    async def _carry(self, call: str, run: Callable[[], Awaitable[T]], lost: Exception) -> T:
        if call in SPARED:
            return await run()
        fault = await self.faults.request(call)
        answer = await run()
        if fault is Fault.TWICE:
            await run()
        elif fault is Fault.RESENT:
            answer = await run()
        if not await self.faults.reply(call, fault):
            raise lost
        return answer
