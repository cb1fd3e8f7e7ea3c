"""The event log: every change leaves an entry, and the last 10,000 are kept."""

from __future__ import annotations

import anyio

from treadle.broker.base import Broker, Events, LogEvent
from treadle.conformance.case import case
from treadle.conformance.hand import act, make_job, stored
from treadle.conformance.lab import Lab, raising
from treadle.domain.limits import EVENTS_KEPT
from treadle.domain.outcome import CancelAsked, DiscardAsked, Succeeded
from treadle.errors import ConfigurationError

LONG_MS = 30_000


async def cursor_of_now(broker: Broker) -> str:
    """Return the cursor behind the last entry."""
    return (await broker.events(None)).cursor


def told(entries: tuple[LogEvent, ...]) -> list[tuple[str, str, str]]:
    """Return what entries say: event, id, state."""
    return [(entry.event, entry.id, entry.state) for entry in entries]


@case("C561", "without a cursor there are no entries only a place")
async def without_a_cursor_there_are_no_entries_only_a_place(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job())

    events = await broker.events(None)

    assert (events.entries, events.gap) == ((), False)
    assert (await broker.events(events.cursor)).entries == ()


@case("C562", "each change leaves an entry")
async def each_change_leaves_an_entry(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    start = await cursor_of_now(broker)
    await lab.elapse(lab.tick_ms)
    await stored(broker, make_job("a", queue="mail"))
    record = await hand.claim_one("mail")
    await act(broker, record, CancelAsked())
    await hand.end(record, Succeeded())
    (done,) = await broker.get([record.ref])
    assert done is not None
    await hand.end(done, DiscardAsked())

    entries = (await broker.events(start)).entries

    assert told(entries) == [
        ("enqueue", "a", "waiting"),
        ("claim", "a", "running"),
        ("request_cancel", "a", "running"),
        ("succeed", "a", "succeeded"),
        ("discard", "a", ""),
    ]
    assert {entry.queue for entry in entries} == {"mail"}
    now = await lab.now()
    assert all(lab.close_to(entry.at, now) for entry in entries)


@case("C563", "a change that conflicts leaves none")
async def a_change_that_conflicts_leaves_none(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a"))
    start = await cursor_of_now(broker)

    await act(broker, record, DiscardAsked())
    await act(broker, record, DiscardAsked())

    assert told((await broker.events(start)).entries) == [("discard", "a", "")]


@case("C564", "reading goes on at the cursor")
async def reading_goes_on_at_the_cursor(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    await stored(broker, *(make_job(str(number)) for number in range(7)))

    first = await broker.events(start, limit=3)
    second = await broker.events(first.cursor, limit=3)
    third = await broker.events(second.cursor, limit=3)

    assert [entry.id for entry in first.entries + second.entries + third.entries] == list("0123456")
    assert (await broker.events(third.cursor)) == Events(cursor=third.cursor)


@case("C565", "reading can go on behind any entry")
async def reading_can_go_on_behind_any_entry(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    await stored(broker, *(make_job(str(number)) for number in range(5)))
    entries = (await broker.events(start)).entries

    rest = (await broker.events(entries[2].cursor)).entries

    assert rest == entries[3:]


@case("C566", "a reader that is too late is told of the gap", limit_ms=60_000)
async def a_reader_that_is_too_late_is_told_of_the_gap(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    for _ in range(EVENTS_KEPT // 1_000):
        await stored(broker, *(make_job() for _ in range(1_000)))
    await stored(broker, make_job("last"))
    await broker.purge(1)

    first = await broker.events(start, limit=1)
    rest = await broker.events(first.cursor, limit=2 * EVENTS_KEPT)

    assert first.gap
    assert not rest.gap
    assert 1 + len(rest.entries) == EVENTS_KEPT
    assert rest.entries[-1].id == "last"


@case("C567", "a reader waits for the first entry")
async def a_reader_waits_for_the_first_entry(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    seen: list[LogEvent] = []

    async def read() -> None:
        seen.extend((await broker.events(start, wait_ms=LONG_MS)).entries)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await lab.quiet()
            await stored(broker, make_job("a"))

    assert [entry.id for entry in seen] == ["a"]


@case("C568", "a reader is told of what another broker object wrote")
async def a_reader_is_told_of_what_another_broker_object_wrote(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    seen: list[LogEvent] = []

    async def read() -> None:
        seen.extend((await broker.events(start, wait_ms=LONG_MS)).entries)

    with anyio.fail_after(10):
        async with broker.another() as other, anyio.create_task_group() as group:
            group.start_soon(read)
            await lab.quiet()
            await stored(other, make_job("a"))

    assert [entry.id for entry in seen] == ["a"]


@case("C569", "a reader that finds something does not wait")
async def a_reader_that_finds_something_does_not_wait(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)
    await stored(broker, make_job("a"))

    with anyio.fail_after(10):
        events = await broker.events(start, wait_ms=LONG_MS)

    assert [entry.id for entry in events.entries] == ["a"]


@case("C570", "a reader returns empty when its time is over")
async def a_reader_returns_empty_when_its_time_is_over(lab: Lab) -> None:
    broker = lab.broker
    start = await cursor_of_now(broker)

    with anyio.fail_after(10):
        events = await broker.events(start, wait_ms=20)

    assert events == Events(cursor=start)


@case("C571", "a text that is no cursor is refused")
async def a_text_that_is_no_cursor_is_refused(lab: Lab) -> None:
    broker = lab.broker
    with raising(ConfigurationError):
        await broker.events("yesterday")
