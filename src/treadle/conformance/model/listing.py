"""What the pages of `find` may hold."""

from __future__ import annotations

from msgspec import Struct

from treadle.broker.values import Filter, Order, Page
from treadle.conformance.model import calls
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import check_bare, expect, find_kept
from treadle.conformance.model.stock import Kept, Stock
from treadle.conformance.model.when import When
from treadle.domain.job import Record
from treadle.domain.state import Shown, shown

_FIND = "Return one page of heads that match, by creation"
_ONCE = "A record that is there during the whole listing is found exactly once"


class Listing(Struct, kw_only=True):
    """A listing that goes on: what was asked, when it began, and how far it has come."""

    filter: Filter
    order: Order
    began: int
    began_low: int
    newest_seq: int
    place: int | None = None
    """The sequence number of the last record that was listed."""


class Listings:
    """The listings that go on, by the cursor that continues them."""

    def __init__(self) -> None:
        self._by_cursor: dict[str, Listing] = {}

    def judge(
        self, stock: Stock, call: calls.Find, answer: object, when: When, slack_ms: int
    ) -> None:
        """Compare one page with what must and what may stand on it."""
        page = expect(answer, Page, _FIND)
        when = when.narrowed(page.now, slack_ms)
        listing = self._continued(stock, call, when)
        if len(page.records) > max(call.limit, 1):
            raise Refuted(f"{len(page.records)} records", f"at most {call.limit}", _FIND)
        seqs = [_check_listed(stock, record) for record in page.records]
        may = {
            kept.seq: kept
            for kept in _beyond(stock, listing)
            if matches(kept, call.filter, when) is not False
        }
        wanted = [seq for seq in may if _must_be_found(may[seq], listing, when)]
        for seq in seqs:
            if seq not in may:
                raise Refuted(
                    f"{_name(stock, seq)}", f"of {[may[n].ref for n in may]}, in order", _FIND
                )
        if seqs != [seq for seq in may if seq in seqs]:
            raise Refuted(
                [_name(stock, s) for s in seqs], [may[n].ref for n in may], f"{_FIND}: in order"
            )
        until = len(may) if page.cursor is None else _index(list(may), seqs[-1] if seqs else None)
        missing = [may[n].ref for n in list(may)[:until] if n in wanted and n not in seqs]
        if missing:
            raise Refuted(f"without {missing}", f"{[may[n].ref for n in wanted]}", _ONCE)
        if page.cursor is not None:
            stock.is_free |= len(seqs) < call.limit  # pages may be short
            place = seqs[-1] if seqs else listing.place
            self._by_cursor[page.cursor] = Listing(
                filter=listing.filter,
                order=listing.order,
                began=listing.began,
                began_low=listing.began_low,
                newest_seq=listing.newest_seq,
                place=place,
            )

    def _continued(self, stock: Stock, call: calls.Find, when: When) -> Listing:
        if call.cursor is not None:
            return self._by_cursor[call.cursor]
        newest = max((kept.seq for kept in stock.records.values()), default=0)
        return Listing(
            filter=call.filter,
            order=call.order,
            began=stock.calls,
            began_low=when.low,
            newest_seq=newest,
        )


def _beyond(stock: Stock, listing: Listing) -> list[Kept]:
    """Return the records that were not listed yet, in the order of the listing."""
    newest = listing.order is Order.NEWEST
    place = listing.place
    found = [
        kept
        for kept in stock.records.values()
        if place is None or (kept.seq < place if newest else kept.seq > place)
    ]
    return sorted(found, key=lambda kept: kept.seq, reverse=newest)


def _must_be_found(kept: Kept, listing: Listing, when: When) -> bool:
    """Tell whether a record was there, and matched, during the whole listing."""
    if kept.seq > listing.newest_seq:
        return False
    if matches(kept, listing.filter, when) is not True:
        return False
    is_lasting = not (
        listing.filter.state or listing.filter.reason or listing.filter.text or listing.filter.error
    )
    if is_lasting:
        return True
    then = When(listing.began_low, when.high)
    return kept.changed <= listing.began and matches(kept, listing.filter, then) is True


def matches(kept: Kept, filter: Filter, when: When) -> bool | None:
    """Tell whether a record matches; None if that depends on an instant too close to tell."""
    job, head = kept.job, kept.head
    if filter.queue not in (None, "", kept.ref.queue) or filter.type not in (None, "", job.type):
        return False
    if filter.reason not in (None, "", head.reason) or not _holds_text(kept, filter.text):
        return False
    if filter.error and not _failed_with(kept, filter.error):
        return False
    answers = [_is_shown(kept, filter.state, when)]
    if filter.since is not None:
        answers.append(When(kept.created, kept.created + kept.fuzz).reached(filter.since))
    if filter.until is not None:
        before = When(kept.created, kept.created + kept.fuzz).reached(filter.until)
        answers.append(None if before is None else not before)
    if False in answers:
        return False
    return None if None in answers else True


def _is_shown(kept: Kept, state: Shown | None, when: When) -> bool | None:
    if state is None:
        return True
    head = kept.head
    names = {
        shown(head.state, due=due, attempt=head.attempt, now=now)
        for due in (head.due - kept.fuzz, head.due + kept.fuzz)
        for now in (when.low, when.high)
    }
    return (None if len(names) > 1 else True) if state in names else False


def _holds_text(kept: Kept, text: str) -> bool:
    key = "" if kept.job.unique is None else kept.job.unique.key
    return any(text in one for one in (kept.job.id, kept.job.type, key, kept.head.reason))


def _failed_with(kept: Kept, text: str) -> bool:
    errors = [row.error for row in kept.history if row.error is not None]
    return bool(errors) and (text in errors[-1].type or text in errors[-1].message)


def _check_listed(stock: Stock, record: Record) -> int:
    kept, shown_record = find_kept(stock, record, _FIND)
    check_bare(kept, shown_record, "`find` leaves payload, result and history empty")
    if shown_record.result is not None or shown_record.history:
        raise Refuted(
            record, "no result, no history", "`find` leaves payload, result and history empty"
        )
    return kept.seq


def _index(seqs: list[int], last: int | None) -> int:
    return 0 if last is None else seqs.index(last) + 1


def _name(stock: Stock, seq: int) -> str:
    return next((str(kept.ref) for kept in stock.records.values() if kept.seq == seq), str(seq))
