"""A history sorted by what it is about: the lives of jobs, sessions, pauses, limits.

One pass over the calls, in the order in which they ended; the laws then look at small lists. A job
id that is forgotten and enqueued anew begins another life.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from treadle.conformance.history import events as e
from treadle.conformance.history.events import (
    NEVER_ENDED,
    Answer,
    Call,
    How,
    Key,
    Put,
    Said,
    Seen,
    Sent,
    Told,
)
from treadle.domain.state import FINAL, Event


class Stored(Struct, gc=False):
    """One job of one enqueue call."""

    call: Call
    sent: Sent
    told: Told | None
    """None: it may have been stored."""
    place: int = 0
    """Its place in the call."""


class Sight(Struct, gc=False):
    """A record as an answer showed it."""

    call: Call
    seen: Seen


class Claimed(Sight, gc=False):
    """One record of one claim."""

    place: int
    """Its place in the answer."""


class Wrote(Struct, gc=False):
    """One write of one call."""

    call: Call
    put: Put
    told: Told | None
    """None: it may have been written."""

    @property
    def is_done(self) -> bool:
        """Tell whether it surely was written."""
        return self.told is not None and self.told.said is Said.DONE

    @property
    def is_possible(self) -> bool:
        """Tell whether it was written for all that is known."""
        return self.told is None or self.told.said is Said.DONE


class Life(Struct, eq=False):
    """All that is known of one job from its enqueue on."""

    key: Key
    stored: list[Stored] = field(default_factory=list[Stored])
    spawned: list[tuple[Wrote, Sent]] = field(default_factory=list[tuple[Wrote, Sent]])
    """Writes that would store it as a follow-up."""
    claims: list[Claimed] = field(default_factory=list[Claimed])
    writes: list[Wrote] = field(default_factory=list[Wrote])
    sights: list[Sight] = field(default_factory=list[Sight])
    runs: list[Call] = field(default_factory=list[Call])
    steps: list[tuple[Call, e.Step, int | None]] = field(
        default_factory=list[tuple[Call, e.Step, int | None]]
    )

    def __str__(self) -> str:
        return f"{self.key[1]} of queue {self.key[0]}"

    @property
    def sent(self) -> Sent | None:
        """Return the job as it was accepted, or as it was sent if nobody knows which was."""
        for one in self.stored:
            if one.told is not None and one.told.said is Said.DONE:
                return one.sent
        possible = [one.sent for one in self.stored] + [sent for _, sent in self.spawned]
        return possible[0] if len({sent.body for sent in possible}) == 1 else None

    @property
    def begins(self) -> int | None:
        """Return the fence under which it was stored; None if nobody was told."""
        for one in self.stored:
            if one.told is not None and one.told.said is Said.DONE:
                return one.told.fence
        return None

    def accepted(self) -> Call | None:
        """Return the call after which it had to be there."""
        for one in self.stored:
            if one.told is not None and one.told.said in {Said.DONE, Said.KNOWN}:
                return one.call
        for wrote, sent in self.spawned:
            if wrote.is_done and not sent.unique:
                return wrote.call
        return None

    def final_writes(self) -> list[Wrote]:
        """Return the writes that made it final, or may have."""
        return [w for w in self.writes if w.is_possible and w.put.state in FINAL]

    def shows_end(self) -> bool:
        """Tell whether it was, or may have been, final at some time."""
        return bool(self.final_writes()) or any(
            one.seen.forgotten or one.seen.state in FINAL for one in self.sights
        )

    def removals(self) -> list[Wrote]:
        """Return the removals that happened, or may have."""
        return [w for w in self.writes if w.is_possible and w.put.event == "removal"]


class Tenure(Struct, eq=False):
    """All that is known of one session."""

    id: str
    name: str
    lease_ms: int
    opened: Call
    beats: list[Call] = field(default_factory=list[Call])
    ended: tuple[float, int] | None = None
    """Where in the history it had surely ended, and the broker time before which it had not."""
    may_end: float = NEVER_ENDED
    """From here on it may have ended."""
    may_end_unheard: float = NEVER_ENDED
    """From here on it may have ended by a call of which nobody heard when it was carried out."""
    unsure: float = NEVER_ENDED
    """From here on it may have been renewed by a heartbeat whose answer nobody heard."""

    def renewed(self) -> list[int]:
        """Return the broker times at which its lease surely began again."""
        return sorted(call.answer.now or 0 for call in (self.opened, *self.beats))


class Facts:
    """The whole history, sorted."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls: Sequence[Call] = sorted(calls, key=lambda call: call.ended)
        self.lives: list[Life] = []
        self.tenures: dict[str, Tenure] = {}
        self.pauses: dict[str, list[Call]] = {}
        self.limits: dict[str, list[Call]] = {}
        self.lost_claims: list[Call] = []
        """Claims whose answer nobody heard."""
        self.purges: list[Call] = []
        self.looks: list[Call] = []
        self.scan: Call | None = None
        self.set_back: list[float] = []
        """Where the store's clock was set back."""
        self._lives: dict[Key, Life] = {}
        self._earlier: dict[Key, list[Life]] = {}
        self._ended: list[float] = []
        self._known: list[int] = []
        """Broker time as answers have told it, by the position of the answer."""
        self._clock()
        for call in self.calls:
            self._take(call)
        self._end_tenures()

    def life(self, key: Key) -> Life | None:
        """Return the last life of a job id."""
        return self._lives.get(key)

    def lives_of(self, key: Key) -> list[Life]:
        """Return all lives of a job id, in their order."""
        last = self._lives.get(key)
        return [*self._earlier.get(key, ()), *([] if last is None else [last])]

    def now_before(self, position: float) -> int:
        """Return a broker time that was over at a position; 0 if nothing is known."""
        found = bisect_right(self._ended, position)
        return self._known[found - 1] if found else 0

    def was_set_back(self, since: float, until: float) -> bool:
        """Tell whether the store's clock was set back between two positions."""
        return any(since <= position <= until for position in self.set_back)

    def _clock(self) -> None:
        latest, at = 0, -1.0
        for call in self.calls:
            now = call.answer.now
            if call.how is not How.OK or now is None:
                continue
            if now < latest and call.begun > at:
                self.set_back.append(call.ended)
                latest, at = now, call.ended
            elif now >= latest:
                latest, at = now, call.ended
            self._ended.append(call.ended)
            self._known.append(latest)

    def _take(self, call: Call) -> None:
        if call.how is How.FAIL:
            return
        what, answer = call.what, call.answer
        match what:
            case e.Enqueue(jobs=jobs):
                self._stored(call, jobs)
            case e.Claim():
                self._claimed(call, answer)
            case e.Apply(writes=writes):
                self._wrote(call, writes)
            case e.Turn(writes=writes):
                self._wrote(call, writes)
                self._claimed(call, answer)
            case e.Get():
                self._saw(call, [one for one in answer.got if one is not None])
            case e.Run(queue=queue, id=id):
                self._of((queue, id)).runs.append(call)
            case e.Jot(steps=steps):
                for step, existing in zip(steps, answer.steps, strict=False):
                    self._of((step.queue, step.id)).steps.append((call, step, existing))
            case e.Pause(queue=queue):
                self.pauses.setdefault(queue, []).append(call)
            case e.Limit(slot=slot):
                self.limits.setdefault(slot, []).append(call)
            case e.Purge():
                self.purges.append(call)
            case e.Open() | e.Close() | e.Beat():
                self._session(call)
            case e.Look() | e.Find() | e.Scan():
                self._read(call)

    def _read(self, call: Call) -> None:
        if isinstance(call.what, e.Look):
            self.looks.append(call)
        elif isinstance(call.what, e.Scan) and call.how is How.OK:
            self.scan = call
        self._saw(call, call.answer.records)

    def _session(self, call: Call) -> None:
        what, answer = call.what, call.answer
        match what:
            case e.Open(name=name, lease_ms=lease_ms) if call.how is How.OK:
                self.tenures[answer.session] = Tenure(answer.session, name, lease_ms, call)
            case e.Beat(session=session) if call.how is How.OK and session in self.tenures:
                self.tenures[session].beats.append(call)
            case _:
                pass
        self._saw(call, answer.records)

    def _end_tenures(self) -> None:
        living: dict[str, list[Tenure]] = {}
        late: set[str] = set()
        for call in self.calls:
            match call.what:
                case e.Close(session=session) if call.how is not How.FAIL:
                    tenure = self.tenures.get(session)
                    if tenure is not None:
                        _end(tenure, call, self.now_before(call.begun))
                case e.Open(name=name) if call.how is not How.FAIL:
                    own = self.tenures.get(call.answer.session)
                    living[name] = self._taken_over(living.get(name, []), call, own)
                    if own is None:
                        late.add(name)  # it may have its effect at any time from now on
                    elif name in late:
                        _may_end(own, call)
                case e.Beat(session=session) if call.how is How.UNKNOWN:
                    tenure = self.tenures.get(session)
                    if tenure is not None:
                        tenure.unsure = min(tenure.unsure, call.begun)
                case _:
                    continue

    def _taken_over(self, earlier: list[Tenure], call: Call, own: Tenure | None) -> list[Tenure]:
        """End the earlier sessions of a name; of two that were opened at once either may have ended."""
        left = [] if own is None else [own]
        for tenure in earlier:
            if tenure.opened.ended < call.begun:
                now = call.answer.now
                _end(tenure, call, self.now_before(call.begun) if now is None else now)
            else:
                _may_end(tenure, call)
                if own is not None:
                    _may_end(own, call)
            if tenure.ended is None:
                left.append(tenure)
        return left

    def _of(self, key: Key) -> Life:
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = Life(key)
            self.lives.append(life)
        return life

    def _stored(self, call: Call, jobs: Sequence[Sent]) -> None:
        told = call.answer.told if call.how is How.OK else None
        for place, sent in enumerate(jobs):
            one = None if told is None else told[place] if place < len(told) else Told()
            if one is not None and one.said is Said.DONE:
                self._begin_again(sent)
            self._of(sent.key).stored.append(Stored(call, sent, one, place))
            if one is not None and one.seen is not None:
                self._saw(call, (one.seen,))

    def _begin_again(self, sent: Sent) -> None:
        """Begin another life if the last one may be over and forgotten."""
        life = self._lives.get(sent.key)
        if life is None or not life.accepted() or not life.shows_end():
            return
        if self.purges or life.removals():
            self._earlier.setdefault(sent.key, []).append(life)
            self._lives[sent.key] = fresh = Life(sent.key)
            self.lives.append(fresh)

    def _claimed(self, call: Call, answer: Answer) -> None:
        if call.how is not How.OK:
            self.lost_claims.append(call)
        for place, seen in enumerate(answer.records):
            self._of(seen.key).claims.append(Claimed(call, seen, place))

    def _wrote(self, call: Call, writes: Sequence[Put]) -> None:
        told = call.answer.told if call.how is How.OK else None
        for place, put in enumerate(writes):
            one = None if told is None else told[place] if place < len(told) else Told()
            unsure = one is not None and one.said is Said.OWN
            wrote = Wrote(call, put, None if unsure else one)
            self._of(put.key).writes.append(wrote)
            for sent in put.follow_ups:
                if wrote.is_possible:
                    self._of(sent.key).spawned.append((wrote, sent))
            if one is not None and one.seen is not None:
                self._saw(call, (one.seen,))

    def _saw(self, call: Call, records: Iterable[Seen]) -> None:
        for seen in records:
            self._of(seen.key).sights.append(Sight(call, seen))


def _end(tenure: Tenure, call: Call, now: int) -> None:
    if call.how is not How.OK:
        _may_end(tenure, call)
    tenure.may_end = min(tenure.may_end, call.begun)
    if call.how is How.OK and (tenure.ended is None or call.ended < tenure.ended[0]):
        tenure.ended = (call.ended, now)


def _may_end(tenure: Tenure, call: Call) -> None:
    tenure.may_end = min(tenure.may_end, call.begun)
    tenure.may_end_unheard = min(tenure.may_end_unheard, call.begun)


def is_retry(put: Put) -> bool:
    """Tell whether a write starts a new run of a final job."""
    return put.fresh or put.event == Event.RETRY.value
