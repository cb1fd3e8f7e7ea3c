"""Sessions: who may claim, what is held, lost or inherited, and what nobody alive holds."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.values import Lease, Opened, Overdue, Pulse, SessionInfo
from treadle.conformance.model import calls, slots
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import check_undecided, expect, expect_several, find_kept
from treadle.conformance.model.stock import LONG_AGO_MS, Kept, Session, Stock
from treadle.conformance.model.when import When
from treadle.domain.job import Ref
from treadle.domain.state import State
from treadle.errors import SessionEnded

_OPEN = "Begin a session under `name`; the earlier session of that name ends in the same step"
_INHERITED = "`inherited` are the records that the earlier session still ran, payload-free"
_ENDED = "SessionEnded: if the session has ended or expired; checked in the write itself"
_TAKEN = "SessionEnded: if it was closed, or another one was opened under its name (`taken`)"
_BEAT = "Renew the session's lease, and compare what it holds with what it believes to hold"
_OVERDUE = (
    "Running ones whose session has expired, ended or is unknown, and blocked ones that are due"
    " for a look. One that is blocked on a full concurrency key may be left out"
)
_LISTED = "Return the sessions that have not ended, expired ones included"


def judge_open(stock: Stock, call: calls.Open, answer: object, when: When, slack_ms: int) -> None:
    """End the earlier sessions of the name, begin the new one."""
    opened = expect(answer, Opened, _OPEN)
    when = when.narrowed(opened.now, slack_ms)
    if not opened.session or opened.session in stock.sessions:
        raise Refuted(opened.session, "a name that no session had before", _OPEN)
    earlier = [one for one in stock.sessions.values() if one.name == call.name]
    may = [kept for one in earlier for kept in stock.held_by(one.id)]
    must = stock.held_by(earlier[-1].id) if earlier else []
    _check_set(stock, opened.inherited, must, may, _INHERITED)
    for session in earlier:
        if session.ended is None:
            session.ended, session.taken = when.low, True
    stock.sessions[opened.session] = Session(
        id=opened.session,
        name=call.name,
        lease_ms=call.lease_ms,
        expires=when.low + call.lease_ms,
        opened=when.low,
        fuzz=when.fuzz,
        info=call.info,
    )


def close(stock: Stock, id: str, when: When) -> None:
    """End a session; unknown ones and ended ones are left alone."""
    session = stock.sessions.get(id)
    if session is not None and session.ended is None:
        session.ended = when.low


def may_claim(stock: Stock, id: str, answer: object, when: When) -> bool:
    """Check that a claim was refused if and only if its session is over; True if it was not."""
    session = stock.sessions.get(id)
    over = True if session is None else session.is_over(when)
    if isinstance(answer, SessionEnded):
        if over is False:
            raise Refuted(answer, "a claim: the session lives", _ENDED)
        _check_taken(session, answer)
        return False
    if over:
        raise Refuted(answer, "SessionEnded", _ENDED)
    return True


def judge_heartbeat(
    stock: Stock, call: calls.Heartbeat, answer: object, when: When, slack_ms: int
) -> None:
    """Renew the lease, and compare what was said to be lost, held and cancelled."""
    session = stock.sessions.get(call.session)
    is_ended = session is None or session.ended is not None
    if isinstance(answer, SessionEnded):
        if not is_ended and session is not None and not session.maybe_gone:
            raise Refuted(answer, "a pulse: the session has not ended", _TAKEN)
        _check_taken(session, answer)
        return
    if is_ended or session is None:
        raise Refuted(answer, "SessionEnded", _TAKEN)
    pulse = expect(answer, Pulse, _BEAT)
    when = when.narrowed(pulse.now, slack_ms)
    session.expires, session.fuzz, session.maybe_gone = (
        when.low + session.lease_ms,
        when.fuzz,
        False,
    )
    held = {lease_of(kept): kept for kept in stock.held_by(session.id)}
    _check_leases(pulse.lost, [lease for lease in call.held if lease not in held], "lost")
    cancelled = [lease for lease in call.held if lease in held and held[lease].head.cancel]
    _check_leases(pulse.cancels, cancelled, "cancels")
    orphans = [kept for lease, kept in held.items() if lease not in call.held]
    _check_set(stock, pulse.orphans, orphans, orphans, "`orphans`: records that were not in `held`")


def judge_overdue(
    stock: Stock, call: calls.AskOverdue, answer: object, when: When, slack_ms: int
) -> None:
    """Compare what somebody must decide about."""
    overdue = expect(answer, Overdue, _OVERDUE)
    when = when.narrowed(overdue.now, slack_ms)
    must: list[Kept] = []
    may: list[Kept] = []
    for kept in stock.in_state(State.RUNNING, State.BLOCKED):
        is_due = _is_overdue(stock, kept, when)
        full = bool(kept.head.blocked_on) and not slots.room(stock, kept.head.blocked_on)
        if is_due and not full:
            must.append(kept)
        if is_due is not False:
            may.append(kept)
    if len(overdue.records) > max(call.limit, 0):
        raise Refuted(f"{len(overdue.records)} records", f"at most {call.limit}", _OVERDUE)
    stock.is_free |= len(may) > call.limit or len(may) != len(must)
    _check_set(stock, overdue.records, must if len(may) <= call.limit else [], may, _OVERDUE)
    if len(overdue.records) < min(call.limit, len(must)):
        raise Refuted(f"{len(overdue.records)} records", f"of {[k.ref for k in must]}", _OVERDUE)


def judge_sessions(stock: Stock, answer: object, when: When) -> None:
    """Compare the sessions that have not ended."""
    wanted = {one.id: one for one in stock.sessions.values() if one.ended is None}
    listed: set[str] = set()
    for one in expect_several(answer, _LISTED):
        info = expect(one, SessionInfo, _LISTED)
        session = wanted.get(info.session)
        if session is None or info.session in listed:
            raise Refuted(info, f"of {sorted(wanted)}, each once", _LISTED)
        listed.add(info.session)
        shown = (info.name, info.lease_ms, info.running, info.info)
        stands = (session.name, session.lease_ms, len(stock.held_by(session.id)), session.info)
        near = max(abs(info.expires - session.expires), abs(info.opened - session.opened))
        if shown != stands or near > session.fuzz + when.fuzz:
            raise Refuted(info, session, _LISTED)
        session.maybe_gone = False
    missing = [n for n, one in wanted.items() if n not in listed and not one.maybe_gone]
    if missing:
        raise Refuted(f"without {missing}", f"{sorted(wanted)}", _LISTED)


def forget_long_ago(stock: Stock, when: When) -> None:
    """Allow that `purge` drops the sessions that ended, or expired, long ago and run nothing."""
    for session in stock.sessions.values():
        over = session.expires if session.ended is None else session.ended
        is_long_ago = over - session.fuzz <= when.high - LONG_AGO_MS
        session.maybe_gone |= is_long_ago and not stock.held_by(session.id)


def lease_of(kept: Kept) -> Lease:
    """Return the lease under which a record runs."""
    return Lease(kept.ref.queue, kept.ref.id, kept.head.fence)


def _is_overdue(stock: Stock, kept: Kept, when: When) -> bool | None:
    if kept.head.state is State.BLOCKED:
        return when.reached(kept.head.due, kept.fuzz)
    session = stock.sessions.get(kept.head.session)
    return True if session is None else session.is_over(when)


def _check_taken(session: Session | None, answer: SessionEnded) -> None:
    taken = session is not None and session.taken
    if answer.taken is not taken and not (session is not None and session.maybe_gone):
        raise Refuted(f"taken={answer.taken}", f"taken={taken}", _TAKEN)


def _check_leases(shown: object, wanted: Sequence[Lease], name: str) -> None:
    if list(expect_several(shown, _BEAT)) != list(wanted):
        raise Refuted(f"{name}={shown}", f"{name}={tuple(wanted)}", f"{_BEAT}: `{name}`")


def _check_set(
    stock: Stock, records: object, must: Sequence[Kept], may: Sequence[Kept], sentence: str
) -> None:
    """Check that records are all of `must`, none but `may`, and each of them once."""
    seen: set[Ref] = set()
    for one in expect_several(records, sentence):
        kept, record = find_kept(stock, one, sentence)
        if kept not in may or kept.ref in seen:
            raise Refuted(
                f"{kept.ref}: {record.head}", f"{[k.ref for k in may]}, each once", sentence
            )
        seen.add(kept.ref)
        check_undecided(kept, record, sentence)
    missing = [kept.ref for kept in must if kept.ref not in seen]
    if missing:
        raise Refuted(f"without {missing}", f"{[kept.ref for kept in must]}", sentence)
