"""A broker with a durable and a volatile half: what it wrote last, a crash forgets.

Theory of operation. The memory broker's store does the work. Every operation that may write is also
kept in a log; a write is durable when the log is synced up to it, and only then does its reply leave
(mode `strict`). In mode `everysec` replies leave at once and the log is synced each second, so that a
crash forgets what was acknowledged in the last second. A crash makes a new store from the synced part
of the log, replayed at the times at which it was written.

Claims and readers that wait are parked here, as they would wait in a real broker: the store's own
bells wake them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from treadle.broker.base import Claimed, Settled, Turned
from treadle.broker.memory.sleepers import Bell
from treadle.broker.memory.store import Store
from treadle.domain.outcome import Write
from treadle.errors import BrokerUnavailable, TreadleError
from treadle.testing.sim.postbox import Postbox
from treadle.testing.virtual import EPOCH_MS

MAX_RECORD = 8 * 1024 * 1024
_READS = frozenset(
    {"get", "notes", "find", "stats", "sessions", "limits", "document", "documents", "overdue"}
)

Reply = Callable[[Any], None]
"""Takes the answer of a call: a value, or the exception that it raises."""
Observer = Callable[[int, str, tuple[Any, ...], Any], None]
"""Sees each operation that was done: broker time, name, arguments, answer."""


class ServerClock:
    """Broker time; during a replay it shows what the log says."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.replayed: int | None = None
        self.skipped_ms = 0
        """How much idle time was passed over."""

    def time_ms(self) -> int:
        """Return ms since the Unix epoch."""
        if self.replayed is not None:
            return self.replayed
        return EPOCH_MS + self.skipped_ms + round(self._now() * 1000)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._now()


class _Ring(Bell):
    """A bell that tells the server which parked call to look at."""

    __slots__ = ("_rings",)

    def __init__(self, names: Sequence[str], rings: Callable[[], None]) -> None:
        self.names = names
        self._rings = rings

    def ring(self) -> None:
        self._rings()


class _Parked(Struct, eq=False):
    """A call that waits in the server."""

    op: str
    args: tuple[Any, ...]
    reply: Reply
    until: float
    bell: Bell | None = None
    looks: int = 0
    over: bool = False


class Server:
    """Does what calls ask, in the order of their arrival, and replies when it is durable."""

    def __init__(self, postbox: Postbox, rng: Random, observer: Observer) -> None:
        self.clock = ServerClock(postbox.now)
        self.down = False
        self.everysec = False
        self.logs = True
        """Keep the log; a run without broker crashes needs none."""
        self.sync_s = 0.0005
        """How long a sync of the log takes at most."""
        self.crashes = 0
        self.on_crash: Callable[[], None] | None = None
        """Called when writes were forgotten, before the rest is seen again."""
        self.on_failure: Callable[[str], None] = _nobody
        """Told of what no broker may raise."""
        self._postbox = postbox
        self._rng = rng
        self._observer = observer
        self._store = Store(self.clock, MAX_RECORD)
        self._log: list[tuple[int, str, tuple[Any, ...]]] = []
        self._written = 0
        self._synced = 0
        self._unsent: deque[tuple[int, Reply, Any]] = deque()
        self._parked: dict[Reply, _Parked] = {}

    def receive(self, op: str, args: tuple[Any, ...], reply: Reply) -> None:
        """Take a request; `reply` is called once, unless the server dies before it knows."""
        if self.down:
            reply(BrokerUnavailable("cannot reach the broker: connection refused"))
            return
        wait_ms = args[-1] if op in ("claim", "events") else 0
        if not wait_ms:
            self._answer(op, reply, self._perform(op, args))
            return
        until = self._postbox.now() + wait_ms / 1000
        parked = _Parked(op=op, args=args, reply=reply, until=until)
        self._parked[reply] = parked
        self._look(parked, 0)

    def hang_up(self, reply: Reply) -> None:
        """Forget a call that waits: who made it is gone."""
        parked = self._parked.get(reply)
        if parked is not None:
            self._leave(parked)

    def holds(self, reply: Reply) -> bool:
        """Tell whether the call that is answered here still waits."""
        return reply in self._parked

    def crash(self, down_s: float) -> int:
        """Die, forgetting what is not synced, and come back later; return how much was forgotten."""
        self.crashes += 1
        self.down = True
        unsent, self._unsent = self._unsent, deque()
        parked = list(self._parked.values())
        self._parked.clear()
        forgotten = len(self._log) - self._synced
        del self._log[self._synced :]
        self._written = self._synced
        self._rebuild()
        error = BrokerUnavailable("connection lost: the broker has died")
        for each in parked:
            each.over = True
            each.reply(error)
        for _, reply, _ in unsent:
            reply(error)
        self._postbox.post(down_s, self._come_back)
        return forgotten

    def look(self, op: str, *args: Any) -> Any:
        """Read the store as nobody's client, for a judge."""
        return getattr(self._store, op)(*args)

    def skip(self, ms: int) -> None:
        """Pass over idle time: broker time moves, nothing else does."""
        self.clock.skipped_ms += ms
        for parked in list(self._parked.values()):
            self._look(parked, parked.looks)

    def _come_back(self) -> None:
        self.down = False

    def _perform(self, op: str, args: tuple[Any, ...]) -> Any:
        if op not in _READS and op != "events":
            if self.logs:
                self._log.append((self.clock.time_ms(), op, args))
            self._written += 1
        return self._do(op, args)

    def _do(self, op: str, args: tuple[Any, ...], bell: Bell | None = None) -> Any:
        if op == "turn":
            return self._turn(*args)
        now = self.clock.time_ms()
        answer: Any
        try:
            if op == "claim":
                answer, _ = self._store.claim(*args[:3])
            elif op == "events":
                answer = self._store.events(args[0], args[1], bell)
            else:
                answer = getattr(self._store, op)(*args)
        except TreadleError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - the store itself has failed
            self.on_failure(f"{op} raised {error!r}")
            answer = BrokerUnavailable(f"connection lost during {op}")
        self._observer(now, op, args, answer)
        return answer

    def _turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned | Exception:
        """Apply, then claim: the writes stand also if the session has ended."""
        settled: Settled | Exception = self._do("apply", (writes,))
        if isinstance(settled, Exception):
            return settled
        claimed: Claimed | Exception = self._do("claim", (session, queues, limit))
        if isinstance(claimed, Exception):
            return claimed
        return Turned(now=claimed.now, results=settled.results, records=claimed.records)

    def _answer(self, op: str, reply: Reply, answer: Any) -> None:
        """Let the reply leave when everything up to here is durable."""
        if self.everysec and op != "open":
            reply(answer)
            if self._written > self._synced and not self._unsent:
                self._unsent.append((self._written, _nobody, None))
                self._postbox.post(1.0, self._sync)
            return
        if self._written <= self._synced:
            reply(answer)
            return
        self._unsent.append((self._written, reply, answer))
        self._postbox.post(self._rng.random() * self.sync_s, self._sync)

    def _sync(self) -> None:
        if self.down:
            return
        self._synced = self._written
        while self._unsent and self._unsent[0][0] <= self._synced:
            _, reply, answer = self._unsent.popleft()
            reply(answer)

    def _rebuild(self) -> None:
        self._store = Store(self.clock, MAX_RECORD)
        if self.on_crash is not None:
            self.on_crash()
        for at, op, args in self._log:
            self.clock.replayed = at
            self._do(op, args)
        self.clock.replayed = None

    def _look(self, parked: _Parked, look: int) -> None:
        """See whether a parked call can be answered; else wait for its bell or its time."""
        if parked.over or look != parked.looks:
            return
        parked.looks += 1
        self._forget_bell(parked)
        answer = self._perform(parked.op, parked.args)
        left = parked.until - self._postbox.now()
        if isinstance(answer, Exception) or left <= 0 or _brings(answer):
            self._leave(parked)
            self._answer(parked.op, parked.reply, answer)
            return
        mine = parked.looks

        def again() -> None:
            self._look(parked, mine)

        def rings() -> None:
            self._postbox.post(0, again)

        if parked.op == "claim":
            session, queues, limit = parked.args[:3]
            parked.bell = _Ring(queues, rings)
            claimed, due = self._store.claim(session, queues, limit, parked.bell)
            assert not claimed.records, "the same step found nothing"  # noqa: S101
            if due is not None:
                left = min(left, max(due - claimed.now, 1) / 1000)
        else:
            parked.bell = _Ring(("",), rings)
            self._store.events(parked.args[0], parked.args[1], parked.bell)
        self._postbox.post(left, again)

    def _leave(self, parked: _Parked) -> None:
        parked.over = True
        self._parked.pop(parked.reply, None)
        self._forget_bell(parked)

    def _forget_bell(self, parked: _Parked) -> None:
        if parked.bell is not None:
            self._store.leave(parked.bell)
            parked.bell = None


def _brings(answer: Any) -> bool:
    return bool(getattr(answer, "records", None) or getattr(answer, "entries", None))


def _nobody(answer: Any) -> None:
    """Let a reply go that has left already."""
    del answer
