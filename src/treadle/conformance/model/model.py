"""The specification of a broker: what must be stored, and which answers are allowed.

The model is asked about each call after it was answered. It accepts every answer that the protocol
allows, and takes it over where the protocol leaves freedom:

- ties in a claim, timers within 1 s of each other, and jobs that wait again may come in any order;
- of several jobs that have waited equally long for a slot, any one is let in;
- `overdue` may leave out what is blocked on a full concurrency key, and choose if there are too many;
- `purge` may choose which records go first; the log of events may tell more than it must;
- where time runs, what is due at an instant inside the window of a call may be due or not.

Anything else is a `Disagreement`. What a broker chose out of sight (who was put aside, let in or
dropped) is read back with `get`: ask `wants` before the call what to read after it.
"""

from __future__ import annotations

from typing import assert_never

from treadle.broker.values import Applied, Claimed, Conflict, Duplicate, Settled, Turned
from treadle.conformance.model import calls, claiming, living, reading, slots, storing, writing
from treadle.conformance.model.claiming import After
from treadle.conformance.model.disagreement import Disagreement, Refuted
from treadle.conformance.model.listing import Listings
from treadle.conformance.model.showing import expect
from treadle.conformance.model.steering import Documents, EventLog, judge_limits
from treadle.conformance.model.stock import Stock
from treadle.conformance.model.when import When
from treadle.domain.job import Ref
from treadle.domain.outcome import Change, Write
from treadle.domain.state import FINAL, State
from treadle.errors import SessionEnded

_CLAIM = "Make up to `limit` due jobs running for `session`"
_APPLY = "Apply each write whose fence matches; answer the others with what stands"
_TURN = "The same as `apply` followed by `claim(wait_ms=0)`"
_SILENT = "returns nothing"

Results = list[Applied | Conflict | Duplicate]


class Model:
    """What one broker must hold, kept up to date by its own allowed answers."""

    def __init__(self, slack_ms: int = 0) -> None:
        self.stock = Stock()
        self.documents = Documents()
        self._listings = Listings()
        self._events = EventLog()
        self._slack_ms = slack_ms

    def wants(self, call: calls.Call) -> tuple[Ref, ...]:
        """Return the jobs to read after a call, since the answer alone does not tell about them."""
        match call:
            case calls.Claim(queues=queues):
                return self._limited(queues)
            case calls.Turn(writes=writes, queues=queues):
                of_writes = [Ref(write.queue, write.id) for write in writes]
                wanted = [*self._limited(queues), *self._waiters(), *of_writes]
                return tuple(dict.fromkeys([*wanted, *_follow_ups(writes)]))
            case calls.Apply(writes=writes):
                return tuple(dict.fromkeys([*self._waiters(), *_follow_ups(writes)]))
            case calls.SetLimit():
                return self._waiters()
            case calls.Purge():
                return tuple(kept.ref for kept in self.stock.in_state(*FINAL))
            case _:
                return ()

    def judge(self, call: calls.Call, answer: object, when: When, after: After) -> bool:
        """Accept an answer and take it over; True if another one would have been allowed too.

        `answer` is what was returned, or the error that was raised; `after` is what was read of
        the jobs that `wants` named.

        Raises:
            Disagreement: if the protocol does not allow that answer.
        """
        self.stock.calls += 1
        self.stock.is_free = False
        try:
            self._judge(call, answer, when, after)
        except Refuted as refuted:
            raise Disagreement(call, refuted.answered, refuted.allowed, refuted.sentence) from None
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise Disagreement(
                call, answer, f"an answer that makes sense ({error!r})", ""
            ) from error
        return self.stock.is_free or bool(when.doubts)

    def _judge(self, call: calls.Call, answer: object, when: When, after: After) -> None:
        stock, slack = self.stock, self._slack_ms
        match call:
            case calls.Enqueue():
                storing.judge(stock, call, answer, when, slack)
            case calls.Claim():
                self._claim(call, answer, when, after)
            case calls.Apply(writes):
                settled = expect(answer, Settled, _APPLY)
                narrow = when.narrowed(settled.now, slack)
                writing.judge(stock, writes, settled.results, narrow, after)
            case calls.Turn():
                self._turn(call, answer, when, after)
            case calls.Open():
                living.judge_open(stock, call, answer, when, slack)
            case calls.Close(session):
                _expect_nothing(answer)
                living.close(stock, session, when)
            case calls.Heartbeat():
                living.judge_heartbeat(stock, call, answer, when, slack)
            case calls.TakeNotes():
                reading.judge_note(stock, call, answer, when)
            case calls.AskOverdue():
                living.judge_overdue(stock, call, answer, when, slack)
            case calls.Purge():
                reading.judge_purge(stock, call, answer, when, after)
            case calls.Pause() | calls.SetLimit() | calls.SetQueueLimit():
                _expect_nothing(answer)
                self._steer(call, when, after)
            case _:
                self._judge_reading(call, answer, when)

    def _judge_reading(
        self,
        call: calls.Reading | calls.ReadDocument | calls.ReadDocuments | calls.PutDocument,
        answer: object,
        when: When,
    ) -> None:
        match call:
            case calls.Get():
                reading.judge_get(self.stock, call, answer, when)
            case calls.ReadNotes():
                reading.judge_notes(self.stock, call, answer)
            case calls.Find():
                self._listings.judge(self.stock, call, answer, when, self._slack_ms)
            case calls.Count():
                reading.judge_stats(self.stock, answer, when, self._slack_ms)
            case calls.ListSessions():
                living.judge_sessions(self.stock, answer, when)
            case calls.ReadLimits():
                judge_limits(self.stock, answer)
            case calls.ReadEvents():
                self._events.judge(self.stock, call, answer)
            case calls.ReadDocument():
                self.documents.judge_read(call, answer)
            case calls.ReadDocuments():
                self.documents.judge_list(call, answer)
            case calls.PutDocument():
                self.documents.judge_put(call, answer)
            case _:
                assert_never(call)

    def _claim(self, call: calls.Claim, answer: object, when: When, after: After) -> None:
        if not isinstance(answer, SessionEnded):
            when = when.narrowed(expect(answer, Claimed, _CLAIM).now, self._slack_ms)
        if living.may_claim(self.stock, call.session, answer, when):
            records = expect(answer, Claimed, _CLAIM).records
            claiming.judge(self.stock, call.session, call.queues, call.limit, records, when, after)

    def _turn(self, call: calls.Turn, answer: object, when: When, after: After) -> None:
        if isinstance(answer, SessionEnded):
            writing.judge_unseen(self.stock, call.writes, when, after)
            living.may_claim(self.stock, call.session, answer, when)
            return
        turned = expect(answer, Turned, _TURN)
        when = when.narrowed(turned.now, self._slack_ms)
        writing.judge(self.stock, call.writes, turned.results, when, after)
        if living.may_claim(self.stock, call.session, answer, when):
            claiming.judge(
                self.stock, call.session, call.queues, call.limit, turned.records, when, after
            )

    def _steer(
        self, call: calls.Pause | calls.SetLimit | calls.SetQueueLimit, when: When, after: After
    ) -> None:
        match call:
            case calls.Pause(queue, paused):
                (self.stock.paused.add if paused else self.stock.paused.discard)(queue)
            case calls.SetLimit(key, running):
                slots.judge_limit(self.stock, key, running, when, after)
            case calls.SetQueueLimit(queue, waiting):
                limits = self.stock.queue_limits
                limits.pop(queue, None) if waiting is None else limits.update({queue: waiting})
            case _:
                assert_never(call)

    def _limited(self, queues: tuple[str, ...]) -> tuple[Ref, ...]:
        """Return the waiting jobs that a claim may put aside."""
        limits = self.stock.key_limits
        waiting = self.stock.in_state(State.WAITING)
        return tuple(k.ref for k in waiting if k.job.key in limits and k.ref.queue in queues)

    def _waiters(self) -> tuple[Ref, ...]:
        """Return the jobs that wait for a slot."""
        return tuple(k.ref for k in self.stock.in_state(State.BLOCKED) if k.head.blocked_on)


def _follow_ups(writes: tuple[Write, ...]) -> list[Ref]:
    changes = [write for write in writes if isinstance(write, Change)]
    return [Ref(job.queue, job.id) for change in changes for job in change.follow_ups]


def _expect_nothing(answer: object) -> None:
    if answer is not None:
        raise Refuted(answer, None, _SILENT)
