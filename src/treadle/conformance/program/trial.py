"""One program on one fresh store, each answer judged by the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import anyio
from msgspec import Struct

from treadle.broker.base import Broker
from treadle.conformance.model import Disagreement, Model, When, calls
from treadle.conformance.model.showing import sequence
from treadle.conformance.program.ops import Op, Restart
from treadle.conformance.program.player import Connection, Player
from treadle.conformance.subject import Place, Subject
from treadle.domain.job import Record, Ref

STEP_LIMIT_S = 10.0
RESTART_LIMIT_S = 60.0
"""A server may take longer to come back than a call to be answered."""
GLANCE_EVERY = 6
"""After so many operations everything is compared with the model, and counted."""
_ANY = 1 << 30
_WIGGLE_MS = 50
"""How far an instant may be from the one that its answer names, where time runs."""


class Exchange(Struct, frozen=True):
    """One call and what was answered."""

    op: int
    call: calls.Call
    answer: object
    is_free: bool = False
    """Another answer would have been allowed too."""
    after: tuple[Record | None, ...] = ()
    """What was read right after it, of the jobs about which the answer does not tell."""
    at: int = 0
    """How many ms after the beginning of its program it was answered, by the broker's clock."""


Show = Callable[[Exchange], object]


class Hung(AssertionError):
    """A step of a program took longer than its time limit."""


class Tempo(Struct, frozen=True):
    """How long a tick is, and how many ticks may pass at once."""

    tick_ms: int
    most_ticks: int


REAL = Tempo(tick_ms=100, most_ticks=5)
"""Where it really has to be waited for."""


class Trial(Connection):
    """Plays a program on a place, and raises when the broker and the model disagree."""

    def __init__(
        self,
        place: Place,
        stack: AsyncExitStack,
        subject: Subject,
        tempo: Tempo,
        show: Show | None = None,
        lead: Sequence[int] = (),
    ) -> None:
        self._place = place
        self._stack = stack
        self._broker = place.root
        self._second: Broker | None = None
        self._subject = subject
        self._model = Model(0 if place.movable else _WIGGLE_MS + subject.slack_ms)
        self._player = Player(self._ask, self, tempo.tick_ms)
        self._tempo = tempo
        self._began = self._now = place.clock.time_ms()
        self._lead = lead if place.movable else ()
        self._op = 0
        self._show = show
        self.exchanges: list[Exchange] = []

    async def run(self, program: Sequence[Op], step_limit_s: float = STEP_LIMIT_S) -> None:
        """Play every operation, look at everything now and then, and at the end.

        Raises:
            Disagreement: if the broker answered what the protocol does not allow.
            Hung: if an operation took longer than `step_limit_s`.
        """
        self._began = self._now = await self._place.now()
        for number, op in enumerate(program):
            self._op = number
            await self._step(op, step_limit_s)
        self._op = len(program)
        await self._step(None, step_limit_s)

    async def _step(self, op: Op | None, limit_s: float) -> None:
        if isinstance(op, Restart):
            limit_s = max(limit_s, RESTART_LIMIT_S)
        waits = self._tempo.tick_ms * self._tempo.most_ticks / 1_000
        try:
            with anyio.fail_after(limit_s + (0 if self._place.movable else waits)):
                if op is None:
                    await self._player.reader.scan()
                    return
                await self._player.play(op)
                if self._op % GLANCE_EVERY == GLANCE_EVERY - 1:
                    await self._player.reader.glance()
        except TimeoutError:
            raise Hung(f"{self._name(op)}: no end within {limit_s:g} s") from None
        except AssertionError as error:
            error.add_note(f"in {self._name(op)}")
            raise

    def _name(self, op: Op | None) -> str:
        return "the scan at the end" if op is None else f"operation {self._op}, {op}"

    # -- asking

    async def _ask(self, call: calls.Call) -> object:
        wanted = self._model.wants(call)
        if self._is_led():
            self._follow(self._lead[len(self.exchanges)])
        low = self._place.clock.time_ms() if self._place.movable else self._now
        answer = await self._asked(call)
        high = low
        if not self._place.movable:
            high = self._now = await self._time()
        after = await self._read(wanted) if wanted else {}
        if self._show is not None:
            self._show(Exchange(self._op, call, answer))
        is_free = self._model.judge(call, answer, When(low, high), after)
        at = _instant(answer, high) - self._began
        self.exchanges.append(Exchange(self._op, call, answer, is_free, tuple(after.values()), at))
        return answer

    def _is_led(self) -> bool:
        return len(self.exchanges) < len(self._lead)

    def _follow(self, at: int) -> None:
        """Move the clock to where another broker's stood, so many ms after the beginning."""
        self._place.clock.advance(max(self._began + at - self._place.clock.time_ms(), 0))

    async def _asked(self, call: calls.Call) -> object:
        try:
            return await calls.ask(self._broker, call)
        except Exception as error:  # noqa: BLE001 # the model says which errors are allowed
            return error

    async def _read(self, wanted: Sequence[Ref]) -> dict[Ref, Record | None]:
        call = calls.Get(tuple(wanted))
        answer = await self._asked(call)
        found = [one for one in sequence(answer) or () if one is None or isinstance(one, Record)]
        if len(found) != len(wanted):
            raise Disagreement(call, answer, f"{len(wanted)} records", "Return each job")
        return dict(zip(wanted, found, strict=True))

    async def _time(self) -> int:
        settled = await self._broker.apply([])
        return max(settled.now, self._now)

    # -- the connection

    def now(self) -> int:
        """Return broker time."""
        return self._place.clock.time_ms() if self._place.movable else self._now

    async def elapse(self, ms: int) -> None:
        """Move the clock, or really wait, but not for long; who is led has the time of the next call."""
        if self._is_led():
            return
        await self._place.elapse(min(ms, self._tempo.most_ticks * self._tempo.tick_ms))

    async def reconnect(self) -> None:
        """Disconnect, and connect again."""
        await self._broker.disconnect()
        await self._broker.connect()

    async def switch(self) -> None:
        """Go on with the second connection, or with the first one again."""
        if self._second is None:
            self._second = await self._stack.enter_async_context(self._place.broker())
        self._broker, self._second = self._second, self._broker

    async def restart(self) -> None:
        """Restart the server, if the subject can; its clients connect again, since they were cut off."""
        if self._subject.restart is None:
            return
        await self._subject.restart()
        for broker in (self._broker, self._second):
            if broker is not None:
                await broker.disconnect()
                await broker.connect()
        if not self._place.movable:
            self._now = await self._time()


async def try_program(
    subject: Subject,
    program: Sequence[Op],
    step_limit_s: float = STEP_LIMIT_S,
    show: Show | None = None,
    tempo: Tempo | None = None,
    lead: Sequence[int] = (),
) -> list[Exchange]:
    """Play a program on a fresh store of a subject; return what was asked and answered.

    Without a `tempo` it is as fast as the subject's clock allows. A clock that can be moved is led
    through `lead`: how many ms after the beginning each call is made.

    Raises:
        Disagreement: if the broker answered what the protocol does not allow.
        Hung: if an operation took longer than `step_limit_s`.
    """
    async with subject.place(REAL.tick_ms) as place, AsyncExitStack() as stack:
        own = Tempo(place.tick_ms, _ANY) if place.movable else REAL
        trial = Trial(place, stack, subject, tempo or own, show, lead)
        await trial.run(program, step_limit_s)
        return trial.exchanges


def _instant(answer: object, high: int) -> int:
    """Return when a call was answered, as the answer itself tells if it does."""
    now: object = getattr(answer, "now", None)
    return now if isinstance(now, int) else high
