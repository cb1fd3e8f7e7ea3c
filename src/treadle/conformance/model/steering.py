"""What documents and the event log may answer."""

from __future__ import annotations

from collections import Counter

from treadle.broker.values import Document, Events, LogEvent
from treadle.conformance.model import calls
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import expect, expect_each
from treadle.conformance.model.stock import Stock
from treadle.domain.limits import EVENTS_KEPT

_PUT = (
    "Write a document if its version is `version` (0 = absent). Returns the document that stands"
    " after a write, or before one that was refused because the version differs"
)
_VERSION = "`version` grows with every write"
_READ = "Return the control documents, by name"
_EVENTS = "Events are hints: each change leaves one, but the log keeps only the last 10,000"
_LIMITS = 'Return every limit that is set: ("key" or "queue", name, number)'

_Entry = tuple[str, str, str, str]


class Documents:
    """The documents that must stand, and the versions that were given."""

    def __init__(self) -> None:
        self._standing: dict[str, Document] = {}
        self._last: Counter[str] = Counter()

    def version(self, name: str) -> int:
        """Return the version that stands; 0 if there is no such document."""
        document = self._standing.get(name)
        return 0 if document is None else document.version

    def judge_put(self, call: calls.PutDocument, answer: object) -> None:
        """Write or remove a document if the version is right."""
        if call.version != self.version(call.name):
            self._check(call.name, answer, _PUT)
            return
        if call.data is None:
            if answer is not None:
                raise Refuted(answer, None, _PUT)
            self._standing.pop(call.name, None)
            return
        written = expect(answer, Document, _PUT)
        if (written.name, written.data) != (call.name, call.data):
            raise Refuted(written, f"{call.name}: {call.data!r}", _PUT)
        if written.version <= self._last[call.name]:
            raise Refuted(written, f"version > {self._last[call.name]}", _VERSION)
        self._standing[call.name], self._last[call.name] = written, written.version

    def judge_read(self, call: calls.ReadDocument, answer: object) -> None:
        """Compare one document."""
        self._check(call.name, answer, _READ)

    def judge_list(self, call: calls.ReadDocuments, answer: object) -> None:
        """Compare the documents of a prefix."""
        names = sorted(name for name in self._standing if name.startswith(call.prefix))
        for name, document in zip(names, expect_each(answer, len(names), _READ), strict=True):
            self._check(name, document, _READ)

    def _check(self, name: str, answer: object, sentence: str) -> None:
        if answer != self._standing.get(name):
            raise Refuted(answer, self._standing.get(name), sentence)


def judge_limits(stock: Stock, answer: object) -> None:
    """Compare every limit that is set."""
    keys = [("key", name, most) for name, most in stock.key_limits.items()]
    queues = [("queue", name, most) for name, most in stock.queue_limits.items()]
    shown = expect_each(answer, len(keys) + len(queues), _LIMITS)
    if sorted(map(str, shown)) != sorted(map(str, keys + queues)):
        raise Refuted(answer, keys + queues, _LIMITS)


class EventLog:
    """What must still be told behind each cursor that was given."""

    def __init__(self) -> None:
        self._cursors: dict[str, tuple[int, Counter[_Entry]]] = {}

    def judge(self, stock: Stock, call: calls.ReadEvents, answer: object) -> None:
        """Check that everything that happened since the cursor is told before the log ends."""
        events = expect(answer, Events, _EVENTS)
        end = len(stock.happened)
        if call.after is None:
            if events.entries:
                raise Refuted(events, "no entries", "None gives the cursor of now and no entries")
            self._cursors[events.cursor] = (end, Counter())
            return
        start, untold = self._cursors[call.after]
        expected = untold + Counter(stock.happened[start:])
        entries = [expect(entry, LogEvent, _EVENTS) for entry in events.entries]
        if len(entries) > call.limit or (events.gap and end - start < EVENTS_KEPT):
            raise Refuted(events, f"at most {call.limit} entries, no gap", _EVENTS)
        left = expected - Counter((e.event, e.queue, e.id, e.state) for e in entries)
        if left and len(entries) < call.limit:
            raise Refuted(f"nothing of {list(left)}", f"{list(expected)}", _EVENTS)
        self._cursors[events.cursor] = (end, left)
