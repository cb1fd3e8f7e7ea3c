"""Bugs as somebody might write them: each is one edit of the runtime or the domain."""

from __future__ import annotations

from msgspec import Struct


class Planted(Struct, frozen=True, kw_only=True):
    """A bug: in `file`, `right` is replaced by `wrong`."""

    name: str
    file: str
    right: str
    wrong: str


PLANTED = (
    Planted(
        name="an outcome is recorded before the handler has run",
        file="runtime/crew.py",
        right="            outcome = await self._chain(attempt)\n",
        wrong="            from treadle.domain.outcome import Succeeded\n"
        "            self._done(record, Succeeded())\n"
        "            outcome = await self._chain(attempt)\n",
    ),
    Planted(
        name="a stale fence is accepted",
        file="domain/head.py",
        right="    if head.fence != write.fence:\n",
        wrong="    if head.fence < 0:\n",
    ),
    Planted(
        name="a drain forgets what was prefetched",
        file="runtime/closing.py",
        right="take_back() + self",
        wrong="take_back()[:0] + self",
    ),
    Planted(
        name="a wake-up gets lost",
        file="runtime/crew.py",
        right="                self._waking = False\n                self._now",
        wrong="                self._waking = self.finished % 7 == 3\n                self._now",
    ),
    Planted(
        name="a worker believes its own clock about others",
        file="runtime/sweeper.py",
        right="        records = overdue.records\n",
        wrong="        records = overdue.records\n"
        "        from treadle.broker.base import Filter\n"
        "        from treadle.domain.state import Shown\n"
        "        page = await self._broker.find(Filter(state=Shown.RUNNING))\n"
        "        now = self._clock._clock.time_ms()\n"
        "        records += tuple(r for r in page.records if r.head.claimed + 10_000 < now)\n",
    ),
    Planted(
        name="a failure counts twice",
        file="domain/endings.py",
        right="        due=due,\n        attempt=head.attempt - refund,\n",
        wrong="        due=due,\n        attempt=head.attempt - refund + (event is Event.FAIL),\n",
    ),
    Planted(
        name="leases are renewed too rarely",
        file="runtime/beat.py",
        right="    def _interval(self) -> float:\n",
        wrong="    def _interval(self) -> float:\n        return 30.0\n",
    ),
    Planted(
        name="a worker that starts again does not look at what it inherits",
        file="runtime/worker.py",
        right="if opened.inherited:",
        wrong="if opened.inherited and False:",
    ),
    Planted(
        name="an outcome is dropped when its reply is lost",
        file="runtime/settle.py",
        right="        for entry in reversed(self.in_flight):\n",
        wrong="        for entry in ():\n",
    ),
    Planted(
        name="an interruption uses up an attempt",
        file="domain/endings.py",
        right="        After(outcome.delay_ms) if outcome.delay_ms else NOW,\n        refund=True,",
        wrong="        After(outcome.delay_ms) if outcome.delay_ms else NOW,\n        refund=False,",
    ),
    Planted(
        name="orphans are never handed back",
        file="runtime/leases.py",
        right="        for record in orphans:\n",
        wrong="        for record in ():\n",
    ),
    Planted(
        name="a lost session is not opened again",
        file="runtime/worker.py",
        right="            if ended.taken:\n                raise ended",
        wrong="            if ended.taken or True:\n                return",
    ),
    Planted(
        name="what a claim brings during a drain is dropped",
        file="runtime/pump.py",
        right="        for record in records:  # a drain began while the call was under way\n",
        wrong="        for record in ():\n",
    ),
    Planted(
        name="two workers of one loop cancel each other's tasks",
        file="runtime/leftovers.py",
        right="            if not isinstance(slot, Slot) or id(slot) not in ours:\n",
        wrong="            if not isinstance(slot, Slot):\n",
    ),
)
