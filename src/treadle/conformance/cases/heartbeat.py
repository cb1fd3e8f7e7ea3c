"""`heartbeat` renews the lease of a session, and says what it holds, lost, and shall cancel."""

from __future__ import annotations

from msgspec import structs

from treadle.broker.base import Lease
from treadle.conformance.case import case
from treadle.conformance.clock import DAY
from treadle.conformance.hand import (
    HANDED_BACK,
    act,
    ids,
    known,
    lease,
    make_job,
    stored,
)
from treadle.conformance.lab import Lab, raising
from treadle.domain.outcome import CancelAsked, Lost, Succeeded
from treadle.errors import SessionEnded


@case("C431", "what is held is quietly kept")
async def what_is_held_is_quietly_kept(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert (pulse.lost, pulse.orphans, pulse.cancels) == ((), (), ())
    assert lab.close_to(pulse.now, await lab.now())
    assert await known(broker, record.job) == record


@case("C432", "beats keep a job for as long as they come", promises=(6,))
async def beats_keep_a_job_for_as_long_as_they_come(lab: Lab) -> None:
    lease_ms = 2 * lab.tick_ms
    broker, hand = lab.broker, await lab.hand(lease_ms=lease_ms)
    await stored(broker, make_job())
    record = await hand.claim_one()

    for _ in range(5):
        await lab.almost(lease_ms)
        await broker.heartbeat(hand.session, [lease(record)])

    assert (await broker.overdue(10)).records == ()
    await hand.end(record, Succeeded())


@case("C433", "a lease ends one lease after the last beat")
async def a_lease_ends_one_lease_after_the_last_beat(lab: Lab) -> None:
    lease_ms = 2 * lab.tick_ms
    broker, hand = lab.broker, await lab.hand(lease_ms=lease_ms)
    await stored(broker, make_job("a"))
    await hand.claim_one()
    await lab.almost(lease_ms)
    await broker.heartbeat(hand.session, [])

    await lab.almost(lease_ms)
    assert (await broker.overdue(10)).records == ()
    await lab.rest(lease_ms)
    assert ids((await broker.overdue(10)).records) == ["a"]


@case("C434", "a lease that another session took is lost")
async def a_lease_that_another_session_took_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job())
    record = await hand.claim_one()
    await lab.elapse(lab.tick_ms)
    await act(broker, record, Lost())
    taken = await (await lab.hand("other")).claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)
    assert (await known(broker, record.job)).head == taken.head


@case("C435", "a lease that was settled is lost")
async def a_lease_that_was_settled_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, Succeeded())

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)


@case("C436", "a lease of an earlier attempt is lost")
async def a_lease_of_an_earlier_attempt_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(old), lease(new)])

    assert pulse.lost == (lease(old),)
    assert pulse.orphans == ()


@case("C437", "a lease of an unknown job is lost")
async def a_lease_of_an_unknown_job_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    nobody = Lease("default", "nobody", 2)

    pulse = await broker.heartbeat(hand.session, [nobody])

    assert pulse.lost == (nobody,)


@case("C438", "a lease of another session is lost")
async def a_lease_of_another_session_is_lost(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await (await lab.hand("other")).claim_one()

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == (lease(record),)


@case("C439", "what the session holds without knowing is an orphan")
async def what_the_session_holds_without_knowing_is_an_orphan(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("known"), make_job("orphan"))
    known_one, orphan = await hand.claim()

    pulse = await broker.heartbeat(hand.session, [lease(known_one)])

    assert [lease(record) for record in pulse.orphans] == [lease(orphan)]
    assert pulse.lost == ()


@case("C440", "an orphan can be handed back")
async def an_orphan_can_be_handed_back(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    await hand.claim_one()
    (orphan,) = (await broker.heartbeat(hand.session, [])).orphans

    await hand.end(orphan, HANDED_BACK)

    assert ids(await hand.claim()) == ["a"]


@case("C441", "jobs that shall be cancelled are named")
async def jobs_that_shall_be_cancelled_are_named(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("b"))
    first, second = await hand.claim()
    await act(broker, first, CancelAsked())

    pulse = await broker.heartbeat(hand.session, [lease(first), lease(second)])

    assert pulse.cancels == (lease(first),)
    assert pulse.lost == ()


@case("C442", "an expired session is renewed with what nobody decided")
async def an_expired_session_is_renewed_with_what_nobody_decided(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job("a"), make_job("b"))
    decided, kept = await hand.claim()
    await lab.elapse(2 * lab.tick_ms)
    await act(broker, decided, Lost())

    pulse = await broker.heartbeat(hand.session, [lease(decided), lease(kept)])

    assert pulse.lost == (lease(decided),)
    assert (await broker.overdue(10)).records == ()
    await hand.end(kept, Succeeded())
    assert ids(await hand.claim()) == ["a"]


@case("C443", "beating twice is harmless")
async def beating_twice_is_harmless(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    first = await broker.heartbeat(hand.session, [lease(record)])
    second = await broker.heartbeat(hand.session, [lease(record)])

    assert structs.replace(second, now=first.now) == first


@case("C444", "a closed session is not renewed")
async def a_closed_session_is_not_renewed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.close(hand.session)

    with raising(SessionEnded) as caught:
        await broker.heartbeat(hand.session, [])

    assert not caught.error.taken


@case("C445", "a session whose name was taken is not renewed")
async def a_session_whose_name_was_taken_is_not_renewed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await lab.hand()

    with raising(SessionEnded) as caught:
        await broker.heartbeat(hand.session, [])

    assert caught.error.taken


@case("C446", "an unknown session is not renewed")
async def an_unknown_session_is_not_renewed(lab: Lab) -> None:
    broker = lab.broker
    with raising(SessionEnded):
        await broker.heartbeat("nobody", [])


@case("C447", "a clock that is set back extends no lease beyond one", promises=(11,))
async def a_clock_that_is_set_back_extends_no_lease_beyond_one(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand(lease_ms=lab.tick_ms)
    await stored(broker, make_job("a"))
    await hand.claim_one()
    lab.place.clock.jump(-DAY)

    assert (await broker.overdue(10)).records == ()
    await lab.elapse(lab.tick_ms)
    assert ids((await broker.overdue(10)).records) == ["a"]


@case("C448", "a session outlives a clock that is set forward", promises=(11,))
async def a_session_outlives_a_clock_that_is_set_forward(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand(lease_ms=10 * lab.tick_ms)
    await stored(broker, make_job())
    record = await hand.claim_one()
    lab.place.clock.jump(DAY)

    pulse = await broker.heartbeat(hand.session, [lease(record)])

    assert pulse.lost == ()
    await hand.end(record, Succeeded())


@case("C449", "the fence of a lease counts not only its job")
async def the_fence_of_a_lease_counts_not_only_its_job(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    wrong = structs.replace(lease(record), fence=record.head.fence + 1)

    pulse = await broker.heartbeat(hand.session, [wrong])

    assert pulse.lost == (wrong,)
    assert [lease(orphan) for orphan in pulse.orphans] == [lease(record)]


@case("C450", "a claim renews no lease")
async def a_claim_renews_no_lease(lab: Lab) -> None:
    lease_ms = 2 * lab.tick_ms
    broker, hand = lab.broker, await lab.hand(lease_ms=lease_ms)
    await stored(broker, make_job("a"))
    await lab.almost(lease_ms)
    await hand.claim_one()

    await lab.rest(lease_ms)

    assert ids((await broker.overdue(10)).records) == ["a"]
