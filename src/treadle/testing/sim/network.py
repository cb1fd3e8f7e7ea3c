"""The way between processes and the broker: requests and replies get lost, late and doubled.

A message that is on its way belongs to nobody: it arrives also if its sender has died or stands still
meanwhile. A client waits for an answer as long as its patience lasts; then it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import anyio
from msgspec import Struct

from treadle.conformance.history import History
from treadle.conformance.history import events as e
from treadle.errors import BrokerUnavailable
from treadle.testing.sim.machine import Life, Machine
from treadle.testing.sim.postbox import Postbox
from treadle.testing.sim.server import Server
from treadle.testing.sim.trace import Trace

_ONCE_ONLY = frozenset({"open", "close", "pause", "put_document"})
"""A second delivery of these would be another decision of somebody, not the same one twice."""
_WAIT = frozenset({"claim", "events"})
"""Their last argument says how long they wait."""
_FAST_S = 0.002


class Weather(Struct, kw_only=True):
    """How bad the network is: probabilities per call, and how late a late message is at most."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    late: float = 0.0
    late_s: float = 0.0
    twice: float = 0.0
    patience_s: float = 10.0


class Call:
    """One request of a client, until the first answer."""

    __slots__ = ("answer", "answered", "args", "machine", "op", "refused")

    def __init__(self, machine: Machine, op: str, args: tuple[Any, ...]) -> None:
        self.machine = machine
        self.op = op
        self.args = args
        self.answered = anyio.Event()
        self.answer: Any = None
        self.refused = False
        """The broker was not there: the call had no effect."""

    def take(self, answer: Any) -> None:
        """Take the first answer; later ones find nobody."""
        if not self.answered.is_set():
            self.answer = answer
            self.answered.set()


class Network:
    """Carries calls to one server, in the weather of the moment."""

    def __init__(
        self, server: Server, postbox: Postbox, rng: Random, trace: Trace, history: History
    ) -> None:
        self.weather = Weather()
        self.in_flight_late = 0
        """Late requests and replies that will still arrive."""
        self.faults: dict[str, int] = {}
        self._server = server
        self._postbox = postbox
        self._rng = rng
        self._trace = trace
        self._history = history
        self._replies: dict[Call, Callable[[Any], None]] = {}

    def send(self, call: Call) -> None:
        """Carry a request to the server and its reply back, or not."""
        rng, weather = self._rng, self.weather
        self._trace.add(self._postbox.now(), call.machine.name, f"-> {call.op}", call.args[1:2])
        delay = rng.random() * _FAST_S
        if weather.late and rng.random() < weather.late:
            self._count("late")
            delay += rng.random() * weather.late_s
        if weather.lost_request and rng.random() < weather.lost_request:
            self._count("lost request")
            self._postbox.post(rng.random() * 2, lambda: self._fail(call))
            return
        if delay > weather.patience_s:
            self._postbox.post(self._patience(call), lambda: self._fail(call))
        self._deliver_later(call, delay)
        if weather.twice and call.op not in _ONCE_ONLY and rng.random() < weather.twice:
            self._count("twice")
            self._note_copy(call)
            self._deliver_later(call, delay + rng.random() * max(weather.late_s, 1.0))

    def _note_copy(self, call: Call) -> None:
        """Let the history know of a call that nobody made, and whose answer nobody may hear."""
        match call.op, call.args:
            case "claim", (session, queues, *_):
                self._history.begin("network", e.Claim(session, queues))
            case "turn", (session, writes, queues, *_):
                puts = tuple(e.put(write) for write in writes)
                self._history.begin("network", e.Turn(session, puts, queues))
            case "enqueue", (jobs,):
                self._history.begin("network", e.Enqueue(tuple(map(e.sent, jobs))))
            case "heartbeat", (session, _):
                self._history.begin("network", e.Beat(session))
            case _:
                return  # the second finds done what the first one did

    def give_up(self, call: Call) -> None:
        """Tell the server that nobody waits for this call any more."""
        reply = self._replies.get(call)
        if reply is not None:
            self._postbox.post(self._rng.random() * _FAST_S, lambda: self._server.hang_up(reply))

    def serves_the_dead(self) -> bool:
        """Tell whether the server still holds a call of a machine that died: no one told it so."""
        return any(
            call.machine.life is Life.DEAD and self._server.holds(reply)
            for call, reply in self._replies.items()
        )

    def _deliver_later(self, call: Call, delay: float) -> None:
        late = delay > _FAST_S
        self.in_flight_late += late
        self._postbox.post(delay, lambda: self._deliver(call, late))

    def _deliver(self, call: Call, late: bool) -> None:
        self.in_flight_late -= late

        def reply(answer: Any) -> None:
            if self._replies.get(call) is reply:
                del self._replies[call]
            self._return(call, answer)

        call.refused = self._server.down
        args = call.args
        if call in self._replies or call.answered.is_set():
            if call.op in _WAIT:
                args = (*args[:-1], 0)  # the second copy, or nobody listens any more
        else:
            self._replies[call] = reply
        self._server.receive(call.op, args, reply)

    def _return(self, call: Call, answer: Any) -> None:
        rng, weather = self._rng, self.weather
        self._trace.add(self._postbox.now(), call.machine.name, f"|  {call.op}", answer)
        delay = rng.random() * _FAST_S
        if weather.lost_reply and rng.random() < weather.lost_reply:
            self._count("lost reply")
            self._postbox.post(delay + rng.random() * 2, lambda: self._fail(call))
            return
        if weather.late and rng.random() < weather.late:
            self._count("late")
            delay += rng.random() * weather.late_s
        if delay > weather.patience_s:
            self._postbox.post(self._patience(call), lambda: self._fail(call))
        else:
            self._postbox.post(delay, lambda: self._arrive(call, answer))

    def _arrive(self, call: Call, answer: Any) -> None:
        call.take(answer)
        self.give_up(call)  # another copy of it may still wait in the server

    def _fail(self, call: Call) -> None:
        call.take(BrokerUnavailable(f"connection lost during {call.op}"))
        self.give_up(call)

    def _patience(self, call: Call) -> float:
        wait_ms = call.args[-1] if call.op in _WAIT else 0
        return self.weather.patience_s + wait_ms / 1000

    def _count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1
