"""Workers, producers and operators that do what they may, by chance, while every call is written down."""

from __future__ import annotations

import random

from treadle.broker.base import Broker, Note, Step
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, act, lease, look_around, make_job
from treadle.conformance.history import Recorder, check
from treadle.domain.job import After, ErrorInfo, Policy, Priority, Record, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    DiscardAsked,
    Failed,
    Happening,
    Interrupted,
    Lost,
    Rejected,
    RetryAsked,
    Snoozed,
    Succeeded,
)
from treadle.domain.state import Reason, State
from treadle.domain.unique import Scope, Unique
from treadle.errors import SessionEnded

ERROR = ErrorInfo(type="ValueError")


class Site:
    """A broker whose every call is written down, on a clock that is moved by hand."""

    def __init__(self, broker: Broker, clock: MovableClock) -> None:
        self.clock = clock
        self.broker = Recorder(broker)

    async def judge(self, **terms: bool | int) -> None:
        """Scan the store, and insist that the history keeps every law."""
        await self.broker.scan()
        found = check(self.broker.history.calls, **terms)  # type: ignore[arg-type] # terms of a test
        assert not found, "\n".join(str(violation) for violation in found)


def outcome(rng: random.Random, record: Record) -> Happening:
    """Let an attempt end in some way."""
    follow_up = make_job(f"{record.job.id}+{record.head.fence}")
    ends: list[Happening] = [
        Succeeded(result=b"1"),
        Succeeded(follow_ups=(follow_up,) if len(record.job.id) < 40 else ()),
        Failed(error=ERROR),
        Failed(error=ERROR, give_up=True),
        Snoozed(due=After(rng.randrange(3_000))),
        Interrupted(started=False),
        Interrupted(),
        Cancelled(),
        Rejected(reason=Reason.BAD_ARGUMENTS, error=ERROR),
    ]
    return rng.choice(ends)


class Play:
    """A few workers and a producer do what they may, by chance."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.rng = random.Random(seed)
        self.broker: Broker = site.broker
        self.hands: list[Hand] = []
        self.held: list[Record] = []
        self.refs: list[Ref] = []

    async def step(self) -> None:
        """Do one thing."""
        steps = [self.enqueue] * 4 + [self.claim] * 4 + [self.settle] * 6 + [self.beat] * 2
        steps += [self.sweep, self.ask, self.wait, self.restart, self.purge, self.pause, self.note]
        await self.rng.choice(steps)()

    async def enqueue(self) -> None:
        rng = self.rng
        parents = tuple(rng.sample(self.refs, 1)) if self.refs and rng.random() < 0.2 else ()
        jobs = [
            make_job(
                f"j{rng.randrange(400)}",
                payload=b'{"n":%d}' % rng.randrange(9),
                queue=rng.choice(["default", "mail"]),
                priority=rng.choice(list(Priority)),
                due=After(rng.choice([0, 0, 0, 2_000])),
                key=rng.choice(["", "", "disk"]),
                unique=rng.choice([None, None, self.unique()]),
                policy=Policy(max_attempts=2, retention_ms=5_000, remember_ms=9_000),
                after=parents,
            )
            for _ in range(rng.randrange(1, 4))
        ]
        jobs = list({(job.queue, job.id): job for job in jobs}.values())
        await self.broker.enqueue(jobs)
        self.refs += [Ref(job.queue, job.id) for job in jobs]

    def unique(self) -> Unique:
        scope = self.rng.choice(list(Scope))
        return Unique(key=self.rng.choice("xyz"), scope=scope, period_ms=4_000)

    async def hand(self) -> Hand:
        if len(self.hands) < 3:
            broker = self.broker.another()
            await broker.connect()
            self.hands.append(await Hand.open(broker, f"w{len(self.hands)}", 5_000))
        return self.rng.choice(self.hands)

    async def claim(self) -> None:
        hand = await self.hand()
        queues = self.rng.choice([("default", "mail"), ("mail", "default"), ("mail",)])
        try:
            self.held += await hand.claim(self.rng.randrange(1, 5), queues)
        except SessionEnded:
            await self.restart()

    async def settle(self) -> None:
        if not self.held:
            return
        record = self.held[self.rng.randrange(len(self.held))]
        if self.rng.random() < 0.8:  # else it is settled again later, with a stale fence
            self.held.remove(record)
        broker = (await self.hand()).broker
        await act(broker, record, outcome(self.rng, record))

    async def beat(self) -> None:
        hand = await self.hand()
        held = [lease(record) for record in self.held if record.head.session == hand.session]
        pulse = await hand.broker.heartbeat(hand.session, held)
        for record in pulse.orphans:
            await act(hand.broker, record, Interrupted(started=False))

    async def sweep(self) -> None:
        overdue = await self.broker.overdue(100)
        for record in overdue.records:
            if record.head.state is State.RUNNING:
                await act(self.broker, record, Lost(ended=record.session_ended))
        await look_around(self.broker)

    async def ask(self) -> None:
        if not self.refs:
            return
        (record,) = await self.broker.get([self.rng.choice(self.refs)])
        if record is None or record.forgotten:
            return
        final = record.head.finished > 0
        asks: list[Happening] = [RetryAsked(), DiscardAsked()] if final else [CancelAsked()]
        await act(self.broker, record, self.rng.choice(asks))

    async def wait(self) -> None:
        self.site.clock.advance(self.rng.choice([1, 500, 1_500, 6_000]))

    async def restart(self) -> None:
        place = self.rng.randrange(len(self.hands)) if self.hands else -1
        if place < 0:
            return
        hand = self.hands[place]
        if self.rng.random() < 0.5:
            await hand.broker.close(hand.session)
        self.hands[place] = await Hand.open(hand.broker, f"w{place}", 5_000)

    async def purge(self) -> None:
        await self.broker.purge(100)

    async def pause(self) -> None:
        queue = self.rng.choice(["default", "mail"])
        await self.broker.pause(queue, self.rng.random() < 0.3)
        await self.broker.set_limit("disk", self.rng.choice([1, 2, None]))

    async def note(self) -> None:
        hand = await self.hand()
        mine = [record for record in self.held if record.head.session == hand.session]
        if mine:
            record = self.rng.choice(mine)
            items: list[Note] = [Step(lease=lease(record), name="s", data=b"%d" % len(self.held))]
            await hand.broker.note(hand.session, items)
