"""`find` lists records by creation, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from treadle.broker.base import Broker, Filter, Order
from treadle.conformance.case import case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import HANDED_BACK, act, ids, known, make_job, stored
from treadle.conformance.lab import Lab, raising
from treadle.domain.job import After, ErrorInfo, Policy, Record, Ref
from treadle.domain.limits import FIND_EXAMINED
from treadle.domain.outcome import CancelAsked, DiscardAsked, Failed, Succeeded
from treadle.domain.retry import Fixed
from treadle.domain.state import Shown
from treadle.domain.unique import Unique
from treadle.errors import ConfigurationError

NO_CURSORS = ("", "nonsense", "1", "-1", "٣", "1-1-1", "\x00")


async def pages(
    broker: Broker, filter: Filter, order: Order = Order.NEWEST, limit: int = 50
) -> AsyncIterator[tuple[Record, ...]]:
    """Turn the pages of a listing until its end."""
    page = await broker.find(filter, order=order, limit=limit)
    yield page.records
    while page.cursor is not None:
        page = await broker.find(filter, order=order, cursor=page.cursor, limit=limit)
        yield page.records


async def found(
    broker: Broker, filter: Filter, order: Order = Order.NEWEST, limit: int = 50
) -> list[str]:
    """Return the ids of a whole listing."""
    return [record.job.id async for page in pages(broker, filter, order, limit) for record in page]


@case("C511", "the newest come first over all queues")
async def the_newest_come_first_over_all_queues(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"), make_job("b", queue="mail"), make_job("c"))

    assert await found(broker, Filter()) == ["c", "b", "a"]


@case("C512", "the oldest come first if asked")
async def the_oldest_come_first_if_asked(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"), make_job("b", queue="mail"), make_job("c"))

    assert await found(broker, Filter(), Order.OLDEST) == ["a", "b", "c"]


@case("C513", "pages hold every record once")
async def pages_hold_every_record_once(lab: Lab) -> None:
    broker = lab.broker
    jobs = [make_job() for _ in range(23)]
    await stored(broker, *jobs)
    expected = [job.id for job in jobs]

    for wanted in (Filter(), Filter(queue="default", state=Shown.QUEUED)):
        for order in Order:
            lengths = [len(page) async for page in pages(broker, wanted, order, limit=5)]
            listed = await found(broker, wanted, order, limit=5)

            assert lengths == [5, 5, 5, 5, 3]
            assert listed == (expected if order is Order.OLDEST else expected[::-1])


@case("C514", "a full last page is the end")
async def a_full_last_page_is_the_end(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"), make_job("b"))

    assert (await broker.find(Filter(), limit=2)).cursor is None


@case("C515", "what changes during a listing is still found once")
async def what_changes_during_a_listing_is_still_found_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    jobs = [make_job() for _ in range(20)]
    await stored(broker, *jobs)
    listed: list[str] = []

    async for page in pages(broker, Filter(), limit=5):
        listed.extend(ids(page))
        for record in await hand.claim(4):
            await hand.end(record, Succeeded())
        await stored(broker, make_job())

    assert listed == [job.id for job in reversed(jobs)]


@case("C516", "a listing shows heads only")
async def a_listing_shows_heads_only(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(payload=b'{"large":1}')
    record = await hand.run(job, Succeeded(result=b"1"))

    page = await broker.find(Filter())

    (listed,) = page.records
    assert (listed.head, listed.created, listed.job.type) == (record.head, record.created, job.type)
    assert (listed.result, listed.history) == (None, ())
    assert b"large" not in listed.job.payload
    assert lab.close_to(page.now, await lab.now())


@case("C517", "an empty store lists nothing")
async def an_empty_store_lists_nothing(lab: Lab) -> None:
    broker = lab.broker
    page = await broker.find(Filter())

    assert (page.records, page.cursor) == ((), None)


@case("C518", "a listing can be of one queue")
async def a_listing_can_be_of_one_queue(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"), make_job("b", queue="mail"))

    assert await found(broker, Filter(queue="mail")) == ["b"]
    assert await found(broker, Filter(queue="unheard-of")) == []


@case("C519", "every shown state can be listed")
async def every_shown_state_can_be_listed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    slow = Policy(retry=Fixed(delay_ms=HOUR))
    for state in (Shown.SUCCEEDED, Shown.DEAD, Shown.RETRYING, Shown.RUNNING):
        await stored(broker, make_job(state.value, policy=slow))
        record = await hand.claim_one()
        if state is Shown.SUCCEEDED:
            await hand.end(record, Succeeded())
        elif state is not Shown.RUNNING:
            give_up = state is Shown.DEAD
            await hand.end(record, Failed(error=ErrorInfo(type="E"), give_up=give_up))
    await stored(
        broker,
        make_job("cancelled"),
        make_job("queued"),
        make_job("scheduled", due=After(2 * lab.tick_ms)),
        make_job("blocked", after=(Ref("default", "queued"),)),
    )
    await act(broker, await known(broker, Ref("default", "cancelled")), CancelAsked())

    listed = {state: await found(broker, Filter(state=state)) for state in Shown}
    assert listed == {state: [state.value] for state in Shown}
    in_queue = {s: await found(broker, Filter(queue="default", state=s)) for s in Shown}
    assert in_queue == listed
    await lab.elapse(2 * lab.tick_ms)
    assert await found(broker, Filter(state=Shown.QUEUED)) == ["scheduled", "queued"]


@case("C520", "filters hold together")
async def filters_hold_together(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", type="email.send", unique=Unique(key="ada")))
    await lab.elapse(lab.tick_ms)
    middle = await lab.now()
    await stored(broker, make_job("b", type="email.send"), make_job("c", type="report.make"))

    assert await found(broker, Filter(type="email.send")) == ["b", "a"]
    assert await found(broker, Filter(type="email.send", since=middle)) == ["b"]
    assert await found(broker, Filter(type="email.send", until=middle)) == ["a"]
    assert await found(broker, Filter(text="report")) == ["c"]
    assert await found(broker, Filter(text="ada")) == ["a"]
    assert await found(broker, Filter(text="nowhere")) == []
    assert await found(broker, Filter(type="email")) == []


@case("C521", "dead letters are found by reason and error")
async def dead_letters_are_found_by_reason_and_error(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    odd = Failed(error=ErrorInfo(type="app.Odd", message="disk 7 is gone"), give_up=True)
    last = Failed(error=ErrorInfo(type="ValueError", message="no"))
    await hand.run(make_job("a"), odd)
    await hand.run(make_job("b", policy=Policy(max_attempts=1)), last)

    assert await found(broker, Filter(reason="given_up")) == ["a"]
    assert await found(broker, Filter(text="exhausted")) == ["b"]
    assert await found(broker, Filter(error="disk 7")) == ["a"]
    assert await found(broker, Filter(error="ValueError")) == ["b"]
    assert await found(broker, Filter(error="Odd", state=Shown.DEAD, queue="default")) == ["a"]


@case("C522", "only the last error is looked at")
async def only_the_last_error_is_looked_at(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    again = Policy(retry=Fixed(delay_ms=0))
    await hand.run(make_job("a", policy=again), Failed(error=ErrorInfo(type="First")))
    await hand.end(await hand.claim_one(), Failed(error=ErrorInfo(type="Second")))

    assert await found(broker, Filter(error="First")) == []
    assert await found(broker, Filter(error="Second")) == ["a"]


@case("C523", "a page examines a bounded number of records", limit_ms=60_000)
async def a_page_examines_a_bounded_number_of_records(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("needle", type="rare"))
    for _ in range(FIND_EXAMINED // 1_000):
        await stored(broker, *(make_job() for _ in range(1_000)))

    page = await broker.find(Filter(type="rare"))

    assert page.records == ()
    assert page.cursor is not None
    assert await found(broker, Filter(type="rare")) == ["needle"]


@case("C524", "a cursor that is none is refused")
async def a_cursor_that_is_none_is_refused(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job())

    for cursor in NO_CURSORS:
        with raising(ConfigurationError):
            await broker.find(Filter(), cursor=cursor)


@case("C525", "a cursor of another listing is refused")
async def a_cursor_of_another_listing_is_refused(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, *(make_job() for _ in range(3)))
    cursor = (await broker.find(Filter(), limit=1)).cursor

    with raising(ConfigurationError):
        await broker.find(Filter(), order=Order.OLDEST, cursor=cursor)
    with raising(ConfigurationError):
        await broker.find(Filter(queue="default"), cursor=cursor)


@case("C526", "a job that was handed back keeps its place")
async def a_job_that_was_handed_back_keeps_its_place(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b"))

    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert await found(broker, Filter(queue="default", state=Shown.QUEUED)) == ["b", "a"]


@case(
    "C527", "a job that is stored later is no part of a listing, though the newest ones have gone"
)
async def a_later_job_is_no_part_of_a_listing_whose_newest_have_gone(lab: Lab) -> None:
    cursor = await _cursor_of_what_has_gone(lab, remember_ms=0)
    await stored(lab.broker, make_job("later"))

    assert ids((await lab.broker.find(Filter(), cursor=cursor, limit=9)).records) == []


@case("C528", "a job whose id was forgotten is no part of a listing that began before")
async def a_job_whose_id_was_forgotten_is_no_part_of_a_listing(lab: Lab) -> None:
    cursor = await _cursor_of_what_has_gone(lab, remember_ms=lab.tick_ms)
    await lab.elapse(2 * lab.tick_ms)
    await stored(lab.broker, make_job("b"))

    assert ids((await lab.broker.find(Filter(), cursor=cursor, limit=9)).records) == []


async def _cursor_of_what_has_gone(lab: Lab, *, remember_ms: int) -> str:
    """Read the first page of two records, remove both, and return where the listing goes on."""
    broker, hand = lab.broker, await lab.hand()
    a = make_job("a", policy=Policy(remember_ms=0))
    await stored(broker, a, make_job("b", policy=Policy(remember_ms=remember_ms)))
    page = await broker.find(Filter(), limit=1)
    assert ids(page.records) == ["b"]
    assert page.cursor is not None
    for record in await hand.claim():
        await hand.end(record, Succeeded())
        await hand.end(await known(broker, record.job), DiscardAsked())
    return page.cursor
