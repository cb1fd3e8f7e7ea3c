"""Writing into the log: what many callers say goes out together, and again until it is known to stand.

A frame has a name that the server remembers for two minutes, so sending it twice stores it once. Its
answer is made when the frame comes back in the log, at its place among those of others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from treadle.broker.sqlite.enqueue import refuse
from treadle.broker.values import Enqueued
from treadle.errors import BrokerError, BrokerUnavailable, Uncertain
from treadle_nats.commands import Enqueue
from treadle_nats.link import Link, NotSent, Refusal, checked
from treadle_nats.log import Erased, Log, Said, message_id
from treadle_nats.questions import Say, deliver
from treadle_nats.replica import Failed
from treadle_nats.streams import explained, inspect, is_full
from treadle_nats.wire import frame

_MOST_FRAMES: Final = 3
"""So many frames may be on their way."""
_MOST_COMMANDS: Final = 1_000
_MOST_BYTES: Final = 512 * 1024
_AGAIN_S: Final = 0.05
_ATTEMPT_S: Final = 1.5


class _Frame(Struct, gc=False, eq=False):
    """A frame on its way."""

    number: int
    says: list[Say]
    parts: list[bytes]
    now: int | None
    sent: bool = False
    """It may have reached the server."""
    landed: bool = False
    """It came back in the log."""


class Outbox:
    """Writes into one log."""

    def __init__(
        self,
        link: Link,
        log: Log,
        on_trouble: Callable[[BrokerError], object],
        on_full: Callable[[], object],
    ) -> None:
        self._link = link
        self._log = log
        self._on_trouble = on_trouble
        self._waiting: deque[Say] = deque()
        self._frames: dict[int, _Frame] = {}
        self._writer = secrets.token_hex(6)
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_full = on_full
        log.own = self._own

    def say(self, says: Sequence[Say]) -> None:
        """Write what is said, in order."""
        self._waiting.extend(says)
        self._send_on()

    async def end(self, error: BrokerError) -> None:
        """Fail what was not written or not answered."""
        says = list(self._waiting)
        self._waiting.clear()
        for flying in list(self._frames.values()):
            self._fail(flying, error)
        for say in says:
            say.fail(type(error)(*error.args))
        deliver(says)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send_on(self) -> None:
        while self._waiting and len(self._frames) < _MOST_FRAMES:
            says = self._next()
            if says:
                self._count += 1
                flying = _Frame(self._count, says, self._cut(says), says[0].now)
                self._frames[flying.number] = flying
                task = asyncio.get_running_loop().create_task(self._fly(flying))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[Say]:
        """Take what fits into one frame; refuse new jobs if room is short."""
        says: list[Say] = []
        size = 0
        no_room = self._log.no_room
        refused: list[Say] = []
        while self._waiting and len(says) < _MOST_COMMANDS:
            say = self._waiting[0]
            if says and (size + len(say.packed.data) > _MOST_BYTES or say.now != says[0].now):
                break
            self._waiting.popleft()
            if say.dropped:
                continue
            if no_room and isinstance(say.packed.command, Enqueue):
                self._refuse(say, no_room)
                refused.append(say)
                continue
            says.append(say)
            size += len(say.packed.data)
        if refused:
            deliver(refused)
            self._on_full()
        return says

    def _cut(self, says: Sequence[Say]) -> list[bytes]:
        data = frame([say.packed for say in says], says[0].now)
        most = self._link.most_bytes
        return [data[start : start + most] for start in range(0, len(data), most)]

    def _own(self, writer: str, number: int) -> Said | None:
        """Take back a frame that came in the log; None if nobody waits for it any more."""
        if writer != self._writer:
            return None
        flying = self._frames.pop(number, None)
        if flying is None:
            return None
        flying.landed = True

        def answered(answers: Sequence[object]) -> None:
            for say, answer in zip(flying.says, answers, strict=True):
                if isinstance(answer, Failed):
                    say.fail(answer.error)
                else:
                    say.answer(answer)
            deliver(flying.says)
            self._send_on()

        return Said([say.packed.command for say in flying.says], flying.now, answered)

    async def _fly(self, flying: _Frame) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._link.address.timeout_ms / 1_000
        try:
            if len(flying.parts) == 1:
                seq = await self._publish(flying, 0, until)
            else:
                parts = range(len(flying.parts))
                seq = max(await asyncio.gather(*(self._publish(flying, n, until) for n in parts)))
            if not flying.landed:
                await self._log.reach(seq)
        except Refusal as refusal:
            self._turn_down(flying, refusal)
        except BrokerError as error:
            self._fail(flying, error)
            if isinstance(error, Erased):
                self._on_trouble(error)
        finally:
            if not flying.landed:
                self._fail(flying, BrokerUnavailable("the broker was disconnected"))

    async def _publish(self, flying: _Frame, part: int, until: float) -> int:
        """Send one part until the server has it; return its number."""
        name = message_id(self._writer, flying.number, part, len(flying.parts))
        loop = asyncio.get_running_loop()
        while True:
            left = until - loop.time()
            try:
                if self._link.is_up:
                    flying.sent = True
                answer = await self._link.request(
                    self._log.life.log,
                    flying.parts[part],
                    headers={"Nats-Msg-Id": name},
                    seconds=max(min(_ATTEMPT_S, left), 0.05),
                )
                return int(checked(answer.data)["seq"])
            except NotSent as error:
                if not flying.sent or left <= 0:
                    raise
                trouble: BrokerError = error
            except BrokerUnavailable as error:
                trouble = error
            except Refusal as refusal:
                if refusal.code != 503:
                    raise
                trouble = explained(refusal, self._link.address)
                await self._refuse_other_life()
            if flying.landed:
                return 0
            if left <= 0:
                raise trouble
            await asyncio.sleep(min(_AGAIN_S, max(left, 0)))

    async def _refuse_other_life(self) -> None:
        """Find out whether nobody answers because the namespace was erased."""
        try:
            standing = await inspect(self._link)
        except BrokerUnavailable:
            return  # the next attempt shows it
        if standing is None or standing.life != self._log.life:
            raise Erased(f"{self._link.address.shown}: the namespace was erased")

    def _turn_down(self, flying: _Frame, refusal: Refusal) -> None:
        """Answer a frame that the server did not take."""
        error = explained(refusal, self._link.address)
        if not is_full(refusal):
            flying.sent = False
            self._fail(flying, error)
            return
        self._on_full()
        if self._frames.pop(flying.number, None) is None:
            return
        for say in flying.says:
            if isinstance(say.packed.command, Enqueue):
                self._refuse(say, f"no space left: {refusal.description}")
            else:
                say.fail(type(error)(*error.args))
        deliver(flying.says)
        self._send_on()

    def _refuse(self, say: Say, reason: str) -> None:
        command: Any = say.packed.command
        now = self._log.now() if say.now is None else say.now
        say.answer(Enqueued(now=now, results=refuse(command.jobs, reason)))

    def _fail(self, flying: _Frame, error: BrokerError) -> None:
        """Answer with an error; who wanted to store jobs learns whether they may be stored."""
        if self._frames.pop(flying.number, None) is None:
            return
        for say in flying.says:
            command = say.packed.command
            if isinstance(command, Enqueue) and flying.sent and not isinstance(error, Erased):
                say.fail(Uncertain(str(error), ids=[job.id for job in command.jobs]))
            else:
                say.fail(BrokerUnavailable(str(error)))
        deliver(flying.says)
        self._send_on()
