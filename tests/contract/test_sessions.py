"""Sessions: who works, who took over from whom, and which records nobody alive runs."""

from __future__ import annotations

import pytest

from tests.contract.clock import MINUTE, MovableClock
from tests.contract.hand import LEASE_MS, Hand, act, ids, known, make_job, stored
from treadle.broker.base import Broker, SessionInfo
from treadle.domain.job import Policy
from treadle.domain.outcome import Lost, Succeeded
from treadle.domain.state import State

pytestmark = pytest.mark.anyio


async def test_an_open_session_is_listed(broker: Broker, clock: MovableClock) -> None:
    opened = await broker.open("host-1", LEASE_MS, b'{"pid":7}')

    assert list(await broker.sessions()) == [
        SessionInfo(
            session=opened.session,
            name="host-1",
            lease_ms=LEASE_MS,
            expires=clock.time_ms() + LEASE_MS,
            opened=clock.time_ms(),
            running=0,
            info=b'{"pid":7}',
        )
    ]
    assert opened.now == clock.time_ms()
    assert opened.inherited == ()


async def test_a_session_counts_what_it_runs(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job() for _ in range(3)))
    first, *_ = await hand.claim()
    await hand.end(first, Succeeded())

    assert [session.running for session in await broker.sessions()] == [2]


async def test_a_session_is_listed_while_it_may_be_renewed(
    broker: Broker, clock: MovableClock
) -> None:
    await broker.open("worker", LEASE_MS, b"{}")
    clock.advance(LEASE_MS + 1)

    assert [session.name for session in await broker.sessions()] == ["worker"]


async def test_sessions_of_different_names_live_side_by_side(broker: Broker) -> None:
    first, second = await Hand.open(broker, "a"), await Hand.open(broker, "b")
    await stored(broker, make_job(), make_job())

    assert first.session != second.session
    assert len(await first.claim(1)) == len(await second.claim(1)) == 1


@pytest.mark.promise(5)
async def test_a_session_inherits_what_the_earlier_one_of_its_name_still_ran(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a"), make_job("b"), make_job("c"))
    first, second = await hand.claim(2)
    await hand.end(first, Succeeded())

    opened = await broker.open("worker", LEASE_MS, b"{}")

    (inherited,) = opened.inherited
    assert inherited.head == second.head
    assert inherited.session_ended
    assert [session.session for session in await broker.sessions()] == [opened.session]


async def test_inherited_records_run_on_until_somebody_decides(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    opened = await broker.open("worker", LEASE_MS, b"{}")

    assert (await known(broker, record.job)).head == record.head
    await act(broker, opened.inherited[0], Lost())
    found = await Hand(broker, opened.session).claim_one()
    assert (found.head.deaths, found.head.attempt) == (1, 1)


async def test_inherited_records_are_overdue_should_the_heir_die_too(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()

    await broker.open("worker", LEASE_MS, b"{}")

    assert ids((await broker.overdue(10)).records) == ["a"]


async def test_inherited_records_come_with_policy_and_without_payload(
    broker: Broker, hand: Hand
) -> None:
    job = make_job(policy=Policy(max_attempts=9), payload=b'{"large":"xxxx"}')
    await stored(broker, job)
    await hand.claim_one()

    (inherited,) = (await broker.open("worker", LEASE_MS, b"{}")).inherited

    assert inherited.job.policy == job.policy
    assert b"large" not in inherited.job.payload


async def test_a_session_inherits_nothing_from_other_names(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    await hand.claim_one()

    assert (await broker.open("other", LEASE_MS, b"{}")).inherited == ()


async def test_what_a_closed_session_still_ran_is_overdue_at_once(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()

    await broker.close(hand.session)

    (record,) = (await broker.overdue(10)).records
    assert record.session_ended
    assert list(await broker.sessions()) == []


async def test_closing_an_unknown_or_closed_session_is_ignored(broker: Broker, hand: Hand) -> None:
    await broker.close("nobody")
    await broker.close(hand.session)
    await broker.close(hand.session)


async def test_closing_does_not_forget_that_the_name_was_taken(broker: Broker, hand: Hand) -> None:
    heir = await Hand.open(broker)

    await broker.close(hand.session)

    assert [session.session for session in await broker.sessions()] == [heir.session]


@pytest.mark.promise(5)
async def test_records_of_an_expired_session_are_overdue(
    broker: Broker, clock: MovableClock
) -> None:
    hand = await Hand.open(broker, lease_ms=LEASE_MS)
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    assert (await broker.overdue(10)).records == ()
    clock.advance(LEASE_MS)
    overdue = await broker.overdue(10)

    (found,) = overdue.records
    assert found.head == record.head
    assert found.session_ended
    assert overdue.now == clock.time_ms()


async def test_overdue_records_come_with_policy_and_without_payload(
    broker: Broker, hand: Hand
) -> None:
    job = make_job(policy=Policy(max_attempts=9), payload=b'{"large":"xxxx"}')
    await stored(broker, job)
    await hand.claim_one()
    await broker.close(hand.session)

    (record,) = (await broker.overdue(10)).records

    assert record.job.policy == job.policy
    assert b"large" not in record.job.payload


async def test_asking_for_overdue_records_changes_nothing(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await broker.close(hand.session)

    first, second = await broker.overdue(10), await broker.overdue(10)

    assert first.records == second.records
    assert await known(broker, record.job) == record


async def test_overdue_records_come_at_most_limit_at_a_time(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job() for _ in range(5)))
    await hand.claim()
    await broker.close(hand.session)

    first = (await broker.overdue(3)).records
    for record in first:
        await act(broker, record, Lost())
    rest = (await broker.overdue(3)).records

    assert (len(first), len(rest)) == (3, 2)
    assert not set(ids(first)) & set(ids(rest))


async def test_a_record_that_was_decided_is_overdue_no_longer(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await broker.close(hand.session)

    await act(broker, record, Lost())

    assert (await broker.overdue(10)).records == ()
    assert (await known(broker, record.job)).head.state is State.WAITING


@pytest.mark.promise(4)
async def test_of_two_who_decide_about_a_lost_record_one_wins(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    await hand.claim_one()
    await broker.close(hand.session)
    (mine,) = (await broker.overdue(10)).records
    (theirs,) = (await broker.overdue(10)).records

    await act(broker, mine, Lost())
    await act(broker, theirs, Lost())

    assert (await known(broker, mine.job)).head.deaths == 1


async def test_an_attempt_may_be_settled_after_its_lease_if_nobody_decided(
    broker: Broker, clock: MovableClock
) -> None:
    hand = await Hand.open(broker, lease_ms=LEASE_MS)
    await stored(broker, make_job())
    record = await hand.claim_one()
    clock.advance(MINUTE)

    await hand.end(record, Succeeded())

    assert (await broker.overdue(10)).records == ()
