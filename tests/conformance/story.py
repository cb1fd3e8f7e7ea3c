"""Histories written by hand: one call after the other, unless they are told to overlap."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from treadle.conformance.history.events import (
    NOTHING,
    Answer,
    Apply,
    Beat,
    Call,
    Claim,
    Close,
    Enqueue,
    Get,
    How,
    Jot,
    Limit,
    Look,
    Open,
    Pause,
    Purge,
    Put,
    Run,
    Said,
    Scan,
    Seen,
    Sent,
    Step,
    Told,
    What,
)
from treadle.domain.state import Event, State

DONE = Told()
UNKNOWN = None
"""For writes and enqueues whose answer nobody heard."""

_STATES = {
    Event.SUCCEED: State.SUCCEEDED,
    Event.FAIL: State.WAITING,
    Event.INTERRUPT: State.WAITING,
    Event.LOSE: State.WAITING,
    Event.SNOOZE: State.WAITING,
    Event.RETRY: State.WAITING,
    Event.UNBLOCK: State.WAITING,
    Event.RESCHEDULE: State.WAITING,
    Event.BLOCK: State.BLOCKED,
    Event.CANCEL: State.CANCELLED,
    Event.REJECT: State.DEAD,
}


def waiting(id: str, fence: int = 1, **over: Any) -> Seen:
    """Show a waiting record."""
    return Seen(id=id, state=State.WAITING, fence=fence, **over)


def running(id: str, fence: int = 2, **over: Any) -> Seen:
    """Show a running record."""
    given: dict[str, Any] = {"attempt": 1, "session": "s1", "session_ended": False, **over}
    return Seen(id=id, state=State.RUNNING, fence=fence, **given)


def final(id: str, fence: int = 3, state: State = State.SUCCEEDED, **over: Any) -> Seen:
    """Show a final record."""
    given: dict[str, Any] = {"attempt": 1, **over}
    return Seen(id=id, state=state, fence=fence, **given)


class Story:
    """Tells a history; time stands still until `later`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.now = 1_000_000
        self._at = 0

    def later(self, ms: int) -> None:
        """Let broker time pass."""
        self.now += ms

    def tell(
        self, what: What, answer: Answer = NOTHING, how: How = How.OK, client: str = "c1"
    ) -> Call:
        """Add a call that begins after all others have ended."""
        if how is How.OK and answer.now is None:
            answer = structs.replace(answer, now=self.now)
        self._at += 2
        call = Call(
            number=len(self.calls) + 1,
            client=client,
            begun=self._at,
            ended=self._at + 1,
            what=what,
            answer=answer,
            how=how,
        )
        self.calls.append(call)
        return call

    def opened(self, session: str = "s1", name: str = "w1", lease_ms: int = 15_000) -> Call:
        return self.tell(Open(name, lease_ms), Answer(session=session))

    def inherited(self, session: str, name: str, *records: Seen) -> Call:
        return self.tell(Open(name, 15_000), Answer(session=session, records=records))

    def closed(self, session: str = "s1") -> Call:
        return self.tell(Close(session))

    def stored(self, *ids: str, told: Told | None = DONE, client: str = "c1", **sent: Any) -> Call:
        """Enqueue jobs that are alike in one call."""
        what = Enqueue(tuple(Sent(id=id, **sent) for id in ids))
        if told is None:
            return self.tell(what, how=How.UNKNOWN, client=client)
        return self.tell(what, Answer(told=(told,) * len(ids)), client=client)

    def claimed(self, *records: Seen, session: str = "s1", queues: tuple[str, ...] = ()) -> Call:
        """Claim records now."""
        asked = queues or tuple({one.queue: None for one in records}) or ("default",)
        shown = tuple(
            structs.replace(one, claimed=one.claimed or self.now, session=session)
            for one in records
        )
        return self.tell(Claim(session, asked), Answer(records=shown))

    def wrote(
        self, id: str, fence: int, event: Event, *, told: Told | None = DONE, **put: Any
    ) -> Call:
        """Apply one change."""
        given: dict[str, Any] = {"state": _STATES[event], "attempt": 1, **put}
        return self._put(Put(id=id, fence=fence, event=event.value, **given), told)

    def asked_to_cancel(self, id: str, fence: int, *, told: Told | None = DONE) -> Call:
        return self._put(Put(id=id, fence=fence, event="cancel_request"), told)

    def removed(self, id: str, fence: int, remember_ms: int = 0) -> Call:
        put = Put(id=id, fence=fence, event="removal", remember_ms=remember_ms)
        return self._put(put, DONE)

    def _put(self, put: Put, told: Told | None) -> Call:
        if told is None:
            return self.tell(Apply((put,)), how=How.UNKNOWN)
        if told is DONE:
            told = Told(fence=put.fence + put.is_change)
        return self.tell(Apply((put,)), Answer(told=(told,)))

    def beat(self, session: str = "s1", *, how: How = How.OK) -> Call:
        return self.tell(Beat(session), how=how)

    def looked(self, *records: Seen) -> Call:
        return self.tell(Look(), Answer(records=records))

    def got(self, *records: Seen) -> Call:
        return self.tell(Get(tuple(one.key for one in records)), Answer(got=records))

    def purged(self) -> Call:
        return self.tell(Purge())

    def paused(self, queue: str = "default", paused: bool = True) -> Call:
        return self.tell(Pause(queue, paused))

    def limited(self, slot: str, running: int | None) -> Call:
        return self.tell(Limit(slot, running))

    def ran(self, id: str, fence: int = 2) -> Call:
        return self.tell(Run("default", id, fence))

    def noted(self, id: str, name: str, data: int, existing: int | None, fence: int = 2) -> Call:
        step = Step(id=id, fence=fence, name=name, data=data)
        return self.tell(Jot("s1", (step,)), Answer(steps=(existing,)))

    def scanned(self, *records: Seen, **counts: tuple[int, ...]) -> Call:
        return self.tell(Scan(), Answer(records=records, counts=counts))


def conflict(seen: Seen | None) -> Told:
    """Refuse a write, and show what stands."""
    return Told(said=Said.CONFLICT, seen=seen)


def known(seen: Seen) -> Told:
    """Refuse a job whose id is known."""
    return Told(said=Said.KNOWN, seen=seen)


def held(seen: Seen) -> Told:
    """Refuse a job whose unique key is held."""
    return Told(said=Said.HELD, seen=seen)


REFUSED = Told(said=Said.REFUSED)
