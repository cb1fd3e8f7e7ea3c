"""Sessions: who works, who took over from whom, and which records nobody alive runs."""

from __future__ import annotations

from treadle.conformance.case import case
from treadle.conformance.hand import LEASE_MS, Hand, act, ids, known, make_job, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import Policy
from treadle.domain.outcome import Lost, Succeeded
from treadle.domain.state import State


@case("C401", "an open session is listed")
async def an_open_session_is_listed(lab: Lab) -> None:
    broker = lab.broker
    opened = await broker.open("host-1", LEASE_MS, b'{"pid":7}')

    (listed,) = await broker.sessions()
    assert (listed.session, listed.name) == (opened.session, "host-1")
    assert (listed.lease_ms, listed.running, listed.info) == (LEASE_MS, 0, b'{"pid":7}')
    assert lab.close_to(listed.opened, await lab.now())
    assert lab.close_to(listed.expires, listed.opened + LEASE_MS)
    assert lab.close_to(opened.now, await lab.now())
    assert opened.inherited == ()


@case("C402", "a session counts what it runs")
async def a_session_counts_what_it_runs(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job() for _ in range(3)))
    first, *_ = await hand.claim()
    await hand.end(first, Succeeded())

    assert [session.running for session in await broker.sessions()] == [2]


@case("C403", "a session is listed while it may be renewed")
async def a_session_is_listed_while_it_may_be_renewed(lab: Lab) -> None:
    broker = lab.broker
    await broker.open("worker", lab.tick_ms, b"{}")
    await lab.elapse(lab.tick_ms + 1)

    assert [session.name for session in await broker.sessions()] == ["worker"]


@case("C404", "sessions of different names live side by side")
async def sessions_of_different_names_live_side_by_side(lab: Lab) -> None:
    broker = lab.broker
    first, second = await lab.hand("a"), await lab.hand("b")
    await stored(broker, make_job(), make_job())

    assert first.session != second.session
    assert len(await first.claim(1)) == len(await second.claim(1)) == 1


@case("C405", "a session inherits what the earlier one of its name still ran", promises=(5,))
async def a_session_inherits_what_the_earlier_one_of_its_name_still_ran(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b"), make_job("c"))
    first, second = await hand.claim(2)
    await hand.end(first, Succeeded())

    opened = await broker.open("worker", LEASE_MS, b"{}")

    (inherited,) = opened.inherited
    assert inherited.head == second.head
    assert inherited.session_ended
    assert [session.session for session in await broker.sessions()] == [opened.session]


@case("C406", "inherited records run on until somebody decides")
async def inherited_records_run_on_until_somebody_decides(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    opened = await broker.open("worker", LEASE_MS, b"{}")

    assert (await known(broker, record.job)).head == record.head
    await act(broker, opened.inherited[0], Lost())
    found = await Hand(broker, opened.session).claim_one()
    assert (found.head.deaths, found.head.attempt) == (1, 1)


@case("C407", "inherited records are overdue should the heir die too")
async def inherited_records_are_overdue_should_the_heir_die_too(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    await hand.claim_one()

    await broker.open("worker", LEASE_MS, b"{}")

    assert ids((await broker.overdue(10)).records) == ["a"]


@case("C408", "inherited records come with policy and without payload")
async def inherited_records_come_with_policy_and_without_payload(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=Policy(max_attempts=9), payload=b'{"large":"xxxx"}')
    await stored(broker, job)
    await hand.claim_one()

    (inherited,) = (await broker.open("worker", LEASE_MS, b"{}")).inherited

    assert inherited.job.policy == job.policy
    assert b"large" not in inherited.job.payload


@case("C409", "a session inherits nothing from other names")
async def a_session_inherits_nothing_from_other_names(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    await hand.claim_one()

    assert (await broker.open("other", LEASE_MS, b"{}")).inherited == ()


@case("C410", "what a closed session still ran is overdue at once")
async def what_a_closed_session_still_ran_is_overdue_at_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    await hand.claim_one()

    await broker.close(hand.session)

    (record,) = (await broker.overdue(10)).records
    assert record.session_ended
    assert list(await broker.sessions()) == []


@case("C411", "closing an unknown or closed session is ignored")
async def closing_an_unknown_or_closed_session_is_ignored(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.close("nobody")
    await broker.close(hand.session)
    await broker.close(hand.session)


@case("C412", "closing does not forget that the name was taken")
async def closing_does_not_forget_that_the_name_was_taken(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    heir = await lab.hand()

    await broker.close(hand.session)

    assert [session.session for session in await broker.sessions()] == [heir.session]


@case("C413", "records of an expired session are overdue", promises=(5,))
async def records_of_an_expired_session_are_overdue(lab: Lab) -> None:
    broker = lab.broker
    hand = await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    assert (await broker.overdue(10)).records == ()
    await lab.elapse(lab.tick_ms)
    overdue = await broker.overdue(10)

    (found,) = overdue.records
    assert found.head == record.head
    assert found.session_ended
    assert lab.close_to(overdue.now, await lab.now())


@case("C414", "overdue records come with policy and without payload")
async def overdue_records_come_with_policy_and_without_payload(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(policy=Policy(max_attempts=9), payload=b'{"large":"xxxx"}')
    await stored(broker, job)
    await hand.claim_one()
    await broker.close(hand.session)

    (record,) = (await broker.overdue(10)).records

    assert record.job.policy == job.policy
    assert b"large" not in record.job.payload


@case("C415", "asking for overdue records changes nothing")
async def asking_for_overdue_records_changes_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await broker.close(hand.session)

    first, second = await broker.overdue(10), await broker.overdue(10)

    assert first.records == second.records
    assert await known(broker, record.job) == record


@case("C416", "overdue records come at most limit at a time")
async def overdue_records_come_at_most_limit_at_a_time(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job() for _ in range(5)))
    await hand.claim()
    await broker.close(hand.session)

    first = (await broker.overdue(3)).records
    for record in first:
        await act(broker, record, Lost())
    rest = (await broker.overdue(3)).records

    assert (len(first), len(rest)) == (3, 2)
    assert not set(ids(first)) & set(ids(rest))


@case("C417", "a record that was decided is overdue no longer")
async def a_record_that_was_decided_is_overdue_no_longer(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await broker.close(hand.session)

    await act(broker, record, Lost())

    assert (await broker.overdue(10)).records == ()
    assert (await known(broker, record.job)).head.state is State.WAITING


@case("C418", "of two who decide about a lost record one wins", promises=(4,))
async def of_two_who_decide_about_a_lost_record_one_wins(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    await hand.claim_one()
    await broker.close(hand.session)
    (mine,) = (await broker.overdue(10)).records
    (theirs,) = (await broker.overdue(10)).records

    await act(broker, mine, Lost())
    await act(broker, theirs, Lost())

    assert (await known(broker, mine.job)).head.deaths == 1


@case("C419", "an attempt may be settled after its lease if nobody decided")
async def an_attempt_may_be_settled_after_its_lease_if_nobody_decided(lab: Lab) -> None:
    broker = lab.broker
    hand = await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job())
    record = await hand.claim_one()
    await lab.elapse(2 * lab.tick_ms)

    await hand.end(record, Succeeded())

    assert (await broker.overdue(10)).records == ()
