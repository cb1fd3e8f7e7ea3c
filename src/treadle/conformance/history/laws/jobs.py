"""What must be true of a job from its enqueue to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from treadle.conformance.history.events import Call, Key, Seen
from treadle.conformance.history.facts import Facts, Life, Wrote, is_retry
from treadle.conformance.history.laws.registry import Breach, Terms, law
from treadle.domain.state import FINAL, State

TICK = "cron:"
"""How the id of a tick of a schedule begins."""


@law("H01", "no accepted job is lost")
def no_accepted_job_is_lost(facts: Facts, terms: Terms) -> Iterator[Breach]:
    """Find an accepted job that is not in the last scan, although it cannot have been purged.

    If everything was to end, one that is there and not final is lost too.
    """
    scan = facts.scan
    if scan is None:
        return
    found = _found(scan)
    for life in facts.lives:
        accepted = life.accepted()
        if accepted is None or accepted.ended >= scan.begun or facts.life(life.key) is not life:
            continue
        seen = found.get(life.key)
        if seen is None:
            if not _may_be_gone(facts, life):
                yield Breach(f"{life} was accepted, and is nowhere", (accepted, scan))
        elif terms.drained and not seen.forgotten and seen.state not in FINAL:
            state = seen.state.name.lower()
            yield Breach(f"{life} was accepted, and is still {state} at the end", (accepted,))


@law("H02", "nothing unexpected is there")
def nothing_unexpected(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a record of a job that nobody enqueued, that was refused, or that was there too early."""
    for life in facts.lives:
        shown = [(one.call, one.seen) for one in (*life.claims, *life.sights)]
        calls = [call for call, seen in shown if not seen.fault]
        if not calls:
            continue
        first = min(calls, key=lambda call: call.ended)
        sources = [one.call.begun for one in life.stored if _stores(one.told)]
        sources += [wrote.call.begun for wrote, _ in life.spawned]
        if not sources:
            yield Breach(f"nobody has stored {life}, and it is there", (first,))
        elif min(sources) > first.ended:
            yield Breach(f"{life} was there before it was enqueued", (first,))


@law("H03", "a job is final once in each run")
def final_once(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a second end, or anything else that moves a final job, without a retry in between."""
    for life in facts.lives:
        final: Call | None = None
        for call, wrote in _moves(life):
            if wrote is None:
                if final is not None:
                    yield Breach(f"{life} was claimed after it was final", (final, call))
            elif is_retry(wrote.put):
                final = None
            elif wrote.is_done:
                if final is not None:
                    event = wrote.put.event
                    yield Breach(f"{life} was moved by {event} after it was final", (final, call))
                if wrote.put.state in FINAL:
                    final = call


@law("H07", "an uncertain call went one way only")
def uncertain_calls_go_one_way(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find half of an uncertain write, or one that shows although another took its place.

    A job that an uncertain enqueue stored may not vanish either.
    """
    found = {} if facts.scan is None else _found(facts.scan)
    for life in facts.lives:
        yield from _one_write_for_a_fence(facts, life)
        if facts.scan is None:
            continue
        yield from _no_half_write(facts, life, found)
        sure = any(one.call.ended < facts.scan.begun for one in (*life.claims, *life.sights))
        uncertain = [one.call for one in life.stored if one.told is None]
        if (
            (uncertain and sure and life.accepted() is None)
            and life.key not in found
            and not _may_be_gone(facts, life)
        ):
            yield Breach(f"{life} was there, and is nowhere", (uncertain[0], facts.scan))


def _one_write_for_a_fence(facts: Facts, life: Life) -> Iterator[Breach]:
    shows: dict[int, Call] = {}
    done = {wrote.put.fence: wrote.call for wrote in life.writes if _is_done_change(wrote)}
    for wrote in life.writes:
        if wrote.told is not None or not wrote.put.is_change:
            continue
        fence = wrote.put.fence
        if not any(_comes_from(facts, wrote, sent.key) for sent in wrote.put.follow_ups):
            continue
        other = done.get(fence, shows.get(fence))
        if other is not None and other is not wrote.call:
            text = f"two writes of {life} under the fence {fence} show"
            yield Breach(text, (other, wrote.call))
        shows[fence] = wrote.call


def _no_half_write(facts: Facts, life: Life, found: dict[Key, Seen]) -> Iterator[Breach]:
    fences = {one.seen.fence for one in life.claims}
    highest = max(
        [one.seen.fence for one in (*life.claims, *life.sights)]
        + [wrote.put.fence + 1 for wrote in life.writes if _is_done_change(wrote)],
        default=0,
    )
    for fence in fences:
        under = [w for w in life.writes if w.put.fence == fence and w.put.is_change]
        possible = [wrote for wrote in under if wrote.is_possible]
        if len(possible) != 1 or possible[0].told is not None or highest <= fence:
            continue
        (wrote,) = possible  # nothing else can have moved it
        for sent in wrote.put.follow_ups:
            child = facts.life(sent.key)
            gone = child is not None and _may_be_gone(facts, child)
            if not sent.unique and sent.key not in found and not gone:
                yield Breach(
                    f"{life} moved on, and its follow-up {sent.id} is not there", (wrote.call,)
                )


@law("H10", "a tick of a schedule is enqueued once")
def ticks_once(facts: Facts, terms: Terms) -> Iterator[Breach]:
    """Find a tick that was accepted twice, in whatever queue, or one that is missing."""
    accepted: dict[str, Call] = {}
    for life in facts.lives:
        tick = life.key[1]
        if not tick.startswith(TICK) and tick not in terms.ticks:
            continue
        for one in life.stored:
            if one.told is not None and one.told.said == "done":
                if tick in accepted:
                    yield Breach(f"the tick {tick} was accepted twice", (accepted[tick], one.call))
                accepted[tick] = one.call
        call = life.accepted()
        if call is not None:
            accepted.setdefault(tick, call)
    for tick in sorted(terms.ticks - set(accepted)):
        yield Breach(f"the tick {tick} was never accepted")


@law("H11", "an id is stored once, and everybody is told of that job")
def one_job_for_an_id(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find an id that was stored again before it was forgotten, or an answer about another job."""
    earlier: dict[Key, Life] = {}
    for life in facts.lives:
        stored = [
            one.call for one in life.stored if one.told is not None and one.told.said == "done"
        ]
        if len(stored) > 1:
            yield Breach(f"{life} was stored twice", (stored[0], stored[1]))
        before = earlier.get(life.key)
        if before is not None and stored:
            until = _known_until(before)
            if until is not None and (stored[0].answer.now or until) < until:
                yield Breach(f"{life} was stored again before it was forgotten", (stored[0],))
        earlier[life.key] = life
        yield from _same_body(life)
        yield from _right_holder(facts, life)


def _same_body(life: Life) -> Iterator[Breach]:
    sent = life.sent
    if sent is None or not sent.body:
        return
    bodies = {0, sent.body}
    bodies |= {w.put.new_body.body for w in life.writes if w.put.new_body is not None}
    for one in (*life.claims, *life.sights):
        if one.seen.body not in bodies:
            yield Breach(f"{life} is shown with another body than it was stored with", (one.call,))


def _right_holder(facts: Facts, life: Life) -> Iterator[Breach]:
    for one in life.stored:
        if one.told is None or one.told.said != "held" or one.told.seen is None:
            continue
        holders = facts.lives_of(one.told.seen.key)
        wrong = one.told.seen.queue != one.sent.queue or not one.sent.unique
        if wrong or all(_never_had(holder, one.sent.unique) for holder in holders):
            yield Breach(f"{life} met {one.told.seen.id}, which does not hold its key", (one.call,))


def _never_had(life: Life, key: str) -> bool:
    bodies = [one.sent for one in life.stored] + [sent for _, sent in life.spawned]
    bodies += [w.put.new_body for w in life.writes if w.put.new_body is not None]
    return all(sent.unique != key for sent in bodies)


@law("H23", "a record is kept for its retention")
def kept_for_its_retention(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a final record that was purged, or an id that was forgotten, too early."""
    scan = facts.scan
    now = None if scan is None else scan.answer.now
    if scan is None or now is None:
        return
    found = _found(scan)
    for life in facts.lives:
        seen = found.get(life.key)
        if facts.life(life.key) is not life or (seen is not None and not seen.forgotten):
            continue
        until = _known_until(life) if seen is None else _kept_until(life)
        if until is not None and now < until and not life.removals():
            what = "purged" if seen is not None else "forgotten"
            yield Breach(f"{life} was {what} {until - now} ms too early", (scan,))


@law("H24", "counts tell the truth")
def counts_tell_the_truth(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a count of `stats` that differs from a full listing when nothing else happened."""
    scan = facts.scan
    if scan is None or not scan.answer.counts:
        return
    if any(c.begun < scan.ended and c.ended > scan.begun and c is not scan for c in facts.calls):
        return
    there = Counter((seen.queue, seen.state) for seen in scan.answer.records if not seen.forgotten)
    queues = {*scan.answer.counts, *(queue for queue, _ in there)}
    for queue in sorted(queues):
        counted = scan.answer.counts.get(queue, (0,) * len(State))
        real = tuple(there[queue, state] for state in State)
        if counted != real:
            yield Breach(f"queue {queue} is counted as {counted} and holds {real}", (scan,))


def _found(scan: Call) -> dict[Key, Seen]:
    return {seen.key: seen for seen in scan.answer.records}


def _stores(told: object) -> bool:
    said = getattr(told, "said", "done")
    return said in {"done", "known"}


def _is_done_change(wrote: Wrote) -> bool:
    return wrote.is_done and wrote.put.is_change


def _may_be_gone(facts: Facts, life: Life) -> bool:
    """Tell whether a record can have been purged or removed."""
    return life.shows_end() and bool(facts.purges or life.removals())


def _moves(life: Life) -> list[tuple[Call, Wrote | None]]:
    """Return what moved a job, in the order of the fences; None stands for a claim."""
    moves: list[tuple[int, Call, Wrote | None]] = [
        (one.seen.fence, one.call, None) for one in life.claims
    ]
    moves += [
        (w.put.fence + 1, w.call, w) for w in life.writes if w.is_possible and w.put.is_change
    ]
    moves.sort(key=lambda move: (move[0], move[1].begun))
    return [(call, wrote) for _, call, wrote in moves]


def _comes_from(facts: Facts, wrote: Wrote, key: Key) -> bool:
    """Tell whether a follow-up is there and can only come from this write."""
    child = facts.life(key)
    if child is None or not (child.claims or child.sights):
        return False
    return not any(_stores(one.told) for one in child.stored) and all(
        source is wrote for source, _ in child.spawned
    )


def _end_of(life: Life) -> tuple[int, State] | None:
    """Return when and how a job surely ended for the last time; None if that is not known."""
    changes = [w for w in life.writes if w.is_possible and w.put.is_change]
    if not changes or life.sent is None:
        return None
    last = max(changes, key=lambda wrote: wrote.put.fence)
    now, state = last.call.answer.now, last.put.state
    if now is None or state is None or state not in FINAL:
        return None
    return None if any(wrote.told is None for wrote in changes) else (now, state)


def _kept_until(life: Life) -> int | None:
    end, sent = _end_of(life), life.sent
    if end is None or sent is None:
        return None
    kept = sent.dead_retention_ms if end[1] is State.DEAD else sent.retention_ms
    return 2**53 if kept is None else end[0] + kept


def _known_until(life: Life) -> int | None:
    """Return until when the id of a job must be known after its end."""
    end, sent, kept = _end_of(life), life.sent, _kept_until(life)
    if end is None or sent is None or kept is None:
        return None
    removed = [(w.call.answer.now or 0) + w.put.remember_ms for w in life.removals() if w.is_done]
    if life.removals():
        return max(removed, default=None) if len(removed) == len(life.removals()) else None
    return max(kept, end[0] + sent.remember_ms)
