"""Nothing stays behind: after the last retention a store holds only what it must.

Every kind of trace is made: jobs that succeed, die, are cancelled, retried or discarded; follow-ups,
parents, unique and concurrency keys, notes, sessions that end in every way, pauses, limits and
documents. Then time passes - moved, or really waited for - and `purge` is called as a janitor does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
from msgspec import Struct

from treadle.broker.base import Broker, Filter, LogLine, Notes, Progress, Step
from treadle.conformance.clock import DAY
from treadle.conformance.hand import Hand, act, lease, look_around, make_job, stored
from treadle.conformance.subject import Place, Subject
from treadle.domain.job import After, ErrorInfo, Job, Policy, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    DiscardAsked,
    Failed,
    Lost,
    RetryAsked,
    Snoozed,
    Succeeded,
)
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

Size = Callable[[Broker], Awaitable[int]]
"""Counts everything that a store holds, the event log left aside; only who knows its inside can."""

QUEUE: Final = "leaks"
_ERROR: Final = ErrorInfo(type="LeakError", message="it failed on purpose", traceback="line 1")
_FORGOTTEN_MS: Final = 40 * DAY
"""So long after its end nothing at all is known of a session."""
_BATCH: Final = 1_000
_MOST_PURGES: Final = 1_000


class LeakReport(Struct, frozen=True, kw_only=True):
    """What stayed behind."""

    jobs: int = 0
    """How many jobs came and went."""
    sizes: tuple[int, ...] = ()
    """What the store held after each round, where it can be counted."""
    took_s: float = 0.0
    leaks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether the broker has passed."""
        return not self.leaks

    def __str__(self) -> str:
        sizes = f", sizes {', '.join(map(str, self.sizes))}" if self.sizes else ""
        text = f"{self.jobs} jobs came and went{sizes}, {self.took_s:.1f} s"
        return "\n".join([text, *self.leaks])


async def run(
    subject: Subject, *, size: Size | None = None, rounds: int = 2, limit_s: float = 60.0
) -> LeakReport:
    """Let jobs come and go on a fresh store of the subject, and tell what stays behind.

    With `size`, what a second round leaves may not be more than what the first one left. Raises
    only what the subject raises while its store is made or erased.
    """
    began = time.monotonic()
    sizes: list[int] = []
    refs: list[Ref] = []
    leaks: list[str] = []
    async with subject.place() as place:
        try:
            with anyio.fail_after(limit_s):
                for number in range(rounds):
                    visit = _Visit(place, number)
                    leaks += await visit.leaks()
                    refs += visit.refs
                    if size is not None:
                        sizes.append(await size(place.root))
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            leaks.append(f"{type(error).__name__}: {error}"[:2_000])
    if len(sizes) > 1 and sizes[-1] > sizes[0]:
        leaks.append(f"the store holds {sizes[-1]} things, and held {sizes[0]} a round before")
    took_s = time.monotonic() - began
    return LeakReport(jobs=len(refs), sizes=tuple(sizes), took_s=took_s, leaks=tuple(leaks))


class _Visit:
    """One round: jobs come, end, and are forgotten."""

    def __init__(self, place: Place, number: int) -> None:
        self.refs: list[Ref] = []
        self._place = place
        self._broker = place.root
        self._number = number
        self._kept_ms = 5 * place.tick_ms
        self._policy = Policy(
            retention_ms=self._kept_ms,
            dead_retention_ms=self._kept_ms,
            remember_ms=2 * self._kept_ms,
            max_attempts=2,
        )

    async def leaks(self) -> list[str]:
        """Let everything happen and pass; return what is there and should not be."""
        await self._settings(set_them=True)
        await self._jobs()
        await self._sessions()
        await self._settings(set_them=False)
        found = await self._not_final()
        await self._place.elapse(self._kept_ms)
        found += await self._purge()
        found += await self._after_retention()
        await self._place.elapse(2 * self._kept_ms)
        if self._place.movable:
            await self._place.elapse(_FORGOTTEN_MS)
        found += await self._purge()
        return found + await self._after_everything()

    async def _settings(self, *, set_them: bool) -> None:
        broker = self._broker
        await broker.set_limit("disk", 1 if set_them else None)
        await broker.set_queue_limit(QUEUE, 1_000 if set_them else None)
        await broker.pause(f"{QUEUE}-paused", set_them)
        if set_them:
            await broker.put_document("leaks/one", b"{}", 0)
            return
        for document in await broker.documents("leaks/"):
            await broker.put_document(document.name, None, document.version)

    def _job(self, word: str, **over: Any) -> Job:
        job = make_job(f"{word}-{self._number}", queue=QUEUE, policy=self._policy, **over)
        self.refs.append(Ref(QUEUE, job.id))
        return job

    async def _jobs(self) -> None:
        hand = await Hand.open(self._broker, "leaks", self._place.far_ms)
        follow_up = self._job("follow-up")
        await hand.run(self._job("parent"), Succeeded(result=b"1", follow_ups=(follow_up,)))
        await hand.end(await hand.claim_one(QUEUE), Succeeded())
        await hand.run(self._job("dead"), Failed(error=_ERROR, give_up=True))
        await hand.run(self._job("cancelled"), Cancelled())
        await self._keys(hand)
        await self._asked(hand)
        await self._children(hand)
        await self._noted(hand)
        await self._broker.close(hand.session)

    async def _keys(self, hand: Hand) -> None:
        for scope in Scope:
            unique = Unique(key=f"key-{scope}", scope=scope, period_ms=self._place.tick_ms)
            await hand.run(self._job(f"unique-{scope}", unique=unique))
        await stored(self._broker, *(self._job(f"disk-{n}", key="disk") for n in range(3)))
        for _ in range(3):
            (record,) = await hand.claim(3, [QUEUE])  # the others wait for the limit of their key
            await hand.end(record, Succeeded())

    async def _asked(self, hand: Hand) -> None:
        """Let people ask for everything that they can ask for."""
        broker = self._broker
        again = await hand.run(self._job("again"), Failed(error=_ERROR, give_up=True))
        await act(broker, again, RetryAsked())
        await hand.end(await hand.claim_one(QUEUE), Succeeded())
        await act(broker, await hand.run(self._job("discarded")), DiscardAsked())
        later = self._job("later", due=After(self._place.far_ms))
        await stored(broker, later)
        (waiting,) = await broker.get([Ref(QUEUE, later.id)])
        if waiting is not None:
            await act(broker, waiting, CancelAsked())

    async def _children(self, hand: Hand) -> None:
        broker = self._broker
        parent, child = self._job("first"), self._job("second", after=(self.refs[-1],))
        await stored(broker, parent)
        await stored(broker, child)
        await hand.end(await hand.claim_one(QUEUE), Succeeded())
        await look_around(broker)
        await hand.end(await hand.claim_one(QUEUE), Succeeded())

    async def _noted(self, hand: Hand) -> None:
        await stored(self._broker, self._job("noted"))
        record = await hand.claim_one(QUEUE)
        held = lease(record)
        await self._broker.note(
            hand.session,
            [
                Step(lease=held, name="charge", data=b"1"),
                Progress(lease=held, data=b"0.5"),
                LogLine(lease=held, at=record.head.claimed, text="half-way"),
            ],
        )
        await hand.end(record, Snoozed(due=After(0)))
        await hand.end(await hand.claim_one(QUEUE), Succeeded())

    async def _sessions(self) -> None:
        """End sessions in every way: taken over, and expired with a job in hand."""
        broker, tick_ms = self._broker, self._place.tick_ms
        await stored(broker, self._job("lost"))
        first = await Hand.open(broker, "leaks", tick_ms)
        await first.claim_one(QUEUE)
        second = await Hand.open(broker, "leaks", self._place.far_ms)
        for record in (await broker.overdue(_BATCH)).records:
            await act(broker, record, Lost())
        await second.end(await second.claim_one(QUEUE), Succeeded())
        await broker.close(second.session)
        expired = await Hand.open(broker, "leaks-expired", tick_ms)
        await self._place.elapse(tick_ms)
        if not self._place.movable:
            await broker.close(expired.session)  # nobody waits for an hour

    async def _not_final(self) -> list[str]:
        records = await self._broker.get(self.refs)
        lost = [ref.id for ref, record in zip(self.refs, records, strict=True) if record is None]
        open_ = [r.job.id for r in records if r is not None and r.head.state < State.SUCCEEDED]
        return _some("accepted and gone", lost) + _some("not final after the drain", open_)

    async def _purge(self) -> list[str]:
        for _ in range(_MOST_PURGES):
            if not await self._broker.purge(_BATCH):
                return []
        return [f"purge still drops records after {_MOST_PURGES} calls"]

    async def _after_retention(self) -> list[str]:
        broker = self._broker
        found = await self._nothing_listed()
        records = await broker.get(self.refs)
        kept = [r.job.id for r in records if r is not None and not r.forgotten]
        gone = [ref.id for ref, record in zip(self.refs, records, strict=True) if record is None]
        found += _some("kept beyond its retention", kept)
        if self._place.movable:
            found += _some("not remembered", gone)
        noted = [ref.id for ref in self.refs if _holds(await broker.notes(ref))]
        return found + _some("notes of purged jobs", noted)

    async def _nothing_listed(self) -> list[str]:
        page = await self._broker.find(Filter(queue=QUEUE), limit=100)
        stats = await self._broker.stats()
        counted = [
            f"{queue.queue}: {queue}"
            for queue in stats.queues
            if queue.waiting + queue.blocked + queue.running + queue.later
            or queue.succeeded + queue.dead + queue.cancelled
        ]
        listed = [record.job.id for record in page.records]
        return _some("listed", listed) + _some("counted", counted)

    async def _after_everything(self) -> list[str]:
        broker = self._broker
        found = await self._nothing_listed()
        remembered = [r.job.id for r in await broker.get(self.refs) if r is not None]
        found += _some("remembered for too long", remembered)
        sessions = [info.session for info in await broker.sessions()]
        documents = [document.name for document in await broker.documents("")]
        limits = [str(limit) for limit in await broker.limits()]
        paused = [queue.queue for queue in (await broker.stats()).queues if queue.paused]
        overdue = [record.job.id for record in (await broker.overdue(100)).records]
        return [
            *found,
            *_some("sessions", sessions),
            *_some("documents", documents),
            *_some("limits", limits),
            *_some("paused queues", paused),
            *_some("overdue", overdue),
        ]


def _holds(notes: Notes) -> bool:
    return bool(notes.progress or notes.log or notes.steps)


def _some(what: str, names: Sequence[str]) -> list[str]:
    """Say what is there, if anything is."""
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{what}: {', '.join(names[:5])}{more}"]
