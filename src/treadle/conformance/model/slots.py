"""Who is let in when a slot of a concurrency key is free."""

from __future__ import annotations

from collections.abc import Collection

from treadle.conformance.model.claiming import After
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.stock import Kept, Stock
from treadle.conformance.model.when import When
from treadle.domain.head import unblocked
from treadle.domain.job import Ref
from treadle.domain.state import Event

_FIRST = "free its concurrency slot and make the first waiter of that key waiting"


def room(stock: Stock, key: str) -> int:
    """Return how many of those that wait for a key may be let in."""
    waiting = len(stock.waiters(key))
    limit = stock.key_limits.get(key)
    free = waiting if limit is None else limit - stock.running()[key]
    return max(min(free, waiting), 0)


def let_first_in(
    stock: Stock, key: str, when: When, after: After, written: Collection[Ref] = ()
) -> None:
    """Let the first waiter of a key in, as the end of a running job of that key must.

    Of several that have waited equally long it is the one that was moved, as `after` shows.
    `written` are jobs that other writes of the same call have moved.
    """
    if not key or not room(stock, key):
        return
    waiters = stock.waiters(key)
    latest = waiters[0].blocked_since + 2 * when.fuzz
    firsts = [kept for kept in waiters if kept.blocked_since <= latest]
    moved = [kept for kept in firsts if has_moved(kept, after)]
    chosen = next((k for k in moved if k.ref not in written), moved[0] if moved else None)
    if chosen is None:
        raise Refuted("nobody was let in", f"one of {[k.ref for k in firsts]}", _FIRST)
    stock.is_free |= len(firsts) > 1
    let_in(stock, chosen, when)


def let_in(stock: Stock, kept: Kept, when: When) -> None:
    """Let a job that waited for a slot wait for its claim."""
    stock.move(kept, unblocked(kept.head, when.low), Event.UNBLOCK, when)


def has_moved(kept: Kept, after: After) -> bool:
    """Tell whether a record was written since, as a later look at it shows."""
    if kept.ref not in after:
        return False
    record = after[kept.ref]
    return record is None or record.forgotten or record.head.fence > kept.head.fence


def judge_limit(stock: Stock, key: str, running: int | None, when: When, after: After) -> None:
    """Set a limit; whoever has room now may be let in at once, or by the next look."""
    if running is None:
        stock.key_limits.pop(key, None)
    else:
        stock.key_limits[key] = running
    most = room(stock, key)
    for kept in stock.waiters(key):
        if not has_moved(kept, after):
            stock.is_free |= most > 0
            continue
        if most == 0:
            raise Refuted(f"{kept.ref} was let in", "nobody: the key is full", _FIRST)
        let_in(stock, kept, when)
        most -= 1
