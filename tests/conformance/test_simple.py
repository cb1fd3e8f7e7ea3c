"""The base for brokers on sorted keys: its keys, and what errors of a storage become."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.broker.base import Broker, Capability, Clock, Description, Durability
from treadle.broker.simple import SimpleBroker
from treadle.broker.simple.keys import behind, pack
from treadle.broker.url import BrokerUrl, parse
from treadle.conformance import Result, Subject, leaks, run_cases
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import make_job
from treadle.domain.job import Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.errors import BrokerUnavailable, Uncertain

texts = st.text(max_size=6)
numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)


class Shelf:
    """Keys in this process, with trouble on demand when a transaction begins or ends."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self._one_at_a_time = Lock()
        self.at_begin: OSError | None = None
        self.at_end: OSError | None = None

    def open(self) -> None:
        """There is nothing to be made ready."""

    def close(self) -> None:
        """There is nothing to be released."""

    def erase(self) -> None:
        """Forget everything."""
        self.values.clear()

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[Shelf]:
        """Give this shelf; what was written is taken back if anything raises."""
        del write
        if self.at_begin is not None:
            raise self.at_begin
        with self._one_at_a_time:
            before = dict(self.values)
            try:
                yield self
                if self.at_end is not None and self.values != before:
                    raise self.at_end  # noqa: TRY301 - it stands for what a store raises here
            except BaseException:
                self.values = before
                raise

    def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        return self.values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value."""
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a value."""
        self.values.pop(key, None)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is between two keys."""
        for key in sorted((key for key in self.values if start <= key < end), reverse=reverse):
            yield key, self.values[key]


class ShelfBroker(SimpleBroker):
    """A broker on a shelf."""

    capabilities = frozenset({Capability.FUSED})
    shelf: Shelf

    def storage(self) -> Shelf:
        """Return the shelf."""
        return self.shelf

    async def describe(self) -> Description:
        """Promise nothing."""
        return Description(name="shelf", version="1", durability=Durability.NONE)


@pytest.fixture
def shelf() -> Shelf:
    """Give an empty shelf."""
    return Shelf()


@pytest.fixture
def broker(shelf: Shelf) -> ShelfBroker:
    """Give an unconnected broker on the shelf."""
    return make(shelf)(parse("shelf://here"), MovableClock())


def make(shelf: Shelf) -> type[ShelfBroker]:
    """Make the class of brokers on a shelf."""
    return type("OneShelf", (ShelfBroker,), {"shelf": shelf})


def test_a_broker_without_storage_cannot_be_made() -> None:
    class Half(SimpleBroker):
        async def describe(self) -> Description:
            return Description(name="half", version="1", durability=Durability.NONE)

    with pytest.raises(TypeError, match="storage"):
        Half(parse("half://here"), MovableClock())  # type: ignore[abstract]  # that is the point


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_keys_of_texts_sort_as_their_texts_do(left: list[str], right: list[str]) -> None:
    as_bytes = [[part.encode() for part in parts] for parts in (left, right)]

    assert (pack(*left) < pack(*right)) == (as_bytes[0] < as_bytes[1])


@given(texts, numbers, numbers)
def test_keys_sort_by_their_numbers(text: str, left: int, right: int) -> None:
    assert (pack(text, left) < pack(text, right)) == (left < right)


@given(st.lists(texts, min_size=1, max_size=2), texts, texts)
def test_a_range_holds_what_begins_with_its_parts_and_nothing_else(
    prefix: list[str], more: str, other: str
) -> None:
    start = pack(*prefix)

    assert start <= pack(*prefix, more) < behind(start)
    beside = pack(*prefix[:-1], other, more)
    assert (start <= beside < behind(start)) == (other == prefix[-1])


@pytest.mark.anyio
async def test_a_full_store_refuses_and_keeps_nothing(broker: ShelfBroker, shelf: Shelf) -> None:
    await broker.connect()
    shelf.at_end = OSError(errno.ENOSPC, "no room")

    (answer,) = (await broker.enqueue([make_job("a")])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.STORAGE_FULL
    shelf.at_end = None
    assert list(await broker.get([Ref("default", "a")])) == [None]


@pytest.mark.anyio
async def test_an_enqueue_that_fails_at_its_end_is_uncertain(
    broker: ShelfBroker, shelf: Shelf
) -> None:
    await broker.connect()
    shelf.at_end = OSError(errno.EIO, "broken")

    with pytest.raises(Uncertain) as caught:
        await broker.enqueue([make_job("a")])

    assert caught.value.ids == ("a",)


@pytest.mark.anyio
async def test_a_store_that_is_away_is_unavailable(broker: ShelfBroker, shelf: Shelf) -> None:
    await broker.connect()
    shelf.at_begin = OSError(errno.EIO, "away")

    with pytest.raises(BrokerUnavailable):
        await broker.enqueue([make_job("a")])
    with pytest.raises(BrokerUnavailable):
        await broker.stats()


@pytest.mark.anyio
async def test_a_broker_that_is_not_connected_says_so(broker: ShelfBroker) -> None:
    with pytest.raises(BrokerUnavailable, match="call connect"):
        await broker.enqueue([make_job("a")])


@pytest.mark.anyio
async def test_no_key_is_left_of_jobs_that_are_forgotten() -> None:
    shelves = Shelves()

    async def count(broker: Broker) -> int:
        keys = shelves.made[broker.url.raw].shelf.values
        return sum(not key.startswith(pack("event")) for key in keys)

    found = await leaks.run(Subject("shelf://here", make=shelves), size=count, rounds=3)

    assert found.passed, str(found)
    assert len(set(found.sizes)) == 1


class Shelves:
    """Makes brokers on a shelf for each URL."""

    def __init__(self) -> None:
        self.made: dict[str, type[ShelfBroker]] = {}

    def __call__(self, url: BrokerUrl, clock: Clock) -> Broker:
        return self.made.setdefault(url.raw, make(Shelf()))(url, clock)


@pytest.mark.slow
@pytest.mark.anyio
async def test_every_case_passes_on_it() -> None:
    rows = await run_cases(Subject("shelf://here", make=Shelves()), backends=["asyncio"])

    assert [row for row in rows if row.result is Result.FAILED] == []
