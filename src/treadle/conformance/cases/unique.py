"""Unique keys: at most one job of a queue holds a key while it is in the key's scope."""

from __future__ import annotations

from treadle.broker.base import Applied, Broker, Duplicate
from treadle.conformance.case import Level, case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import (
    HANDED_BACK,
    act,
    ids,
    known,
    make_job,
    ref,
    reschedule,
    stored,
)
from treadle.conformance.lab import Lab
from treadle.domain.job import After, Job, Policy, Ref
from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked, Succeeded
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

WAITING = Unique(key="welcome:ada", scope=Scope.WAITING)
FINAL = Unique(key="welcome:ada", scope=Scope.FINAL)


def held_for(period_ms: int) -> Unique:
    """Return a key that is held for so long."""
    return Unique(key="welcome:ada", scope=Scope.PERIOD, period_ms=period_ms)


async def holder(broker: Broker, job: Job) -> str | None:
    """Enqueue a job and return who held its key; None if it was stored."""
    (answer,) = (await broker.enqueue([job])).results
    if isinstance(answer, Applied):
        return None
    assert isinstance(answer, Duplicate)
    return answer.record.job.id


@case("C141", "a key is held from the enqueue on", level=Level.FLOW)
async def a_key_is_held_from_the_enqueue_on(lab: Lab) -> None:
    broker = lab.broker
    for scope in Scope:
        period = HOUR if scope is Scope.PERIOD else 0
        unique = Unique(key=f"welcome:{scope}", scope=scope, period_ms=period)
        first, second = make_job(unique=unique), make_job(unique=unique)
        await stored(broker, first)

        assert await holder(broker, second) == first.id
        assert list(await broker.get([ref(second)])) == [None]


@case("C142", "two jobs of one call cannot hold one key", level=Level.FLOW)
async def two_jobs_of_one_call_cannot_hold_one_key(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    answer = await broker.enqueue([make_job("a", unique=FINAL), make_job("b", unique=FINAL)])

    assert [type(result) for result in answer.results] == [Applied, Duplicate]
    assert ids(await hand.claim()) == ["a"]


@case("C143", "a delayed and a blocked job hold their keys", level=Level.FLOW)
async def a_delayed_and_a_blocked_job_hold_their_keys(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", unique=WAITING, due=After(HOUR)))
    blocked = make_job("c", unique=Unique(key="other"), after=(Ref("default", "a"),))
    await stored(broker, blocked)

    assert await holder(broker, make_job("b", unique=WAITING)) == "a"
    assert await holder(broker, make_job("d", unique=Unique(key="other"))) == "c"


@case("C144", "a key counts inside its queue", level=Level.FLOW)
async def a_key_counts_inside_its_queue(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", unique=FINAL))

    assert await holder(broker, make_job("b", unique=FINAL, queue="mail")) is None


@case("C145", "other keys are free", level=Level.FLOW)
async def other_keys_are_free(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", unique=FINAL))

    assert await holder(broker, make_job("b", unique=Unique(key="welcome:eve"))) is None


@case("C146", "any text is a key", level=Level.FLOW)
async def any_text_is_a_key(lab: Lab) -> None:
    broker = lab.broker
    key = "ключ \n'\"; -- %*>\u2028" + "x" * 200
    await stored(broker, make_job("a", unique=Unique(key=key)))

    assert await holder(broker, make_job("b", unique=Unique(key=key))) == "a"


@case("C147", "a key held while waiting is free once its job runs", level=Level.FLOW)
async def a_key_held_while_waiting_is_free_once_its_job_runs(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", unique=WAITING))
    await hand.claim_one()

    assert await holder(broker, make_job("b", unique=WAITING)) is None


@case("C148", "a job that waits again holds its key again", level=Level.FLOW)
async def a_job_that_waits_again_holds_its_key_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", unique=WAITING))
    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert await holder(broker, make_job("b", unique=WAITING)) == "a"


@case("C149", "a job that waits again does not take its key from another", level=Level.FLOW)
async def a_job_that_waits_again_does_not_take_its_key_from_another(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", unique=WAITING))
    record = await hand.claim_one()
    await stored(broker, make_job("b", unique=WAITING))
    await hand.end(record, HANDED_BACK)

    assert await holder(broker, make_job("c", unique=WAITING)) == "b"


@case("C150", "a key held until final is held while its job runs", level=Level.FLOW)
async def a_key_held_until_final_is_held_while_its_job_runs(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", unique=FINAL))
    await hand.claim_one()

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"


@case("C151", "a key is free when its job is final", level=Level.FLOW)
async def a_key_is_free_when_its_job_is_final(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for scope in (Scope.WAITING, Scope.FINAL):
        unique = Unique(key=f"welcome:{scope}", scope=scope)
        await hand.run(make_job(unique=unique))
        second = make_job(unique=unique)

        assert await holder(broker, second) is None
        assert await holder(broker, make_job(unique=unique)) == second.id
        await hand.claim()


@case("C152", "a key is free when its job was cancelled", level=Level.FLOW)
async def a_key_is_free_when_its_job_was_cancelled(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", unique=FINAL)
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) is None


@case("C153", "a key held for a period is free after it", level=Level.FLOW)
async def a_key_held_for_a_period_is_free_after_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    unique = held_for(2 * lab.tick_ms)
    await hand.run(make_job("a", unique=unique))
    await lab.almost(2 * lab.tick_ms)

    assert await holder(broker, make_job("b", unique=unique)) == "a"
    await lab.rest(2 * lab.tick_ms)
    assert await holder(broker, make_job("b", unique=unique)) is None


@case(
    "C154", "a key held for a period is free after it though its job still waits", level=Level.FLOW
)
async def a_key_held_for_a_period_is_free_after_it_though_its_job_still_waits(lab: Lab) -> None:
    broker = lab.broker
    unique = held_for(lab.tick_ms)
    await stored(broker, make_job("a", unique=unique, due=After(lab.far_ms)))
    await lab.elapse(lab.tick_ms)

    assert await holder(broker, make_job("b", unique=unique)) is None


@case("C155", "a key held for a period outlives its record", level=Level.FLOW)
async def a_key_held_for_a_period_outlives_its_record(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    tick = lab.tick_ms
    unique, policy = held_for(5 * tick), Policy(retention_ms=tick, remember_ms=tick)
    await hand.run(make_job("a", unique=unique, policy=policy))
    await lab.elapse(2 * tick)
    assert await broker.purge(10) == 1

    assert await holder(broker, make_job("b", unique=unique)) == "a"
    await lab.elapse(3 * tick)
    assert await holder(broker, make_job("b", unique=unique)) is None


@case("C156", "the key of a removed record is free", level=Level.FLOW)
async def the_key_of_a_removed_record_is_free(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await hand.end(await hand.run(make_job("a", unique=FINAL)), DiscardAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) is None


@case("C157", "removing an earlier holder leaves the key to the new one", level=Level.FLOW)
async def removing_an_earlier_holder_leaves_the_key_to_the_new_one(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    earlier = await hand.run(make_job("a", unique=FINAL))
    await stored(broker, make_job("b", unique=FINAL))
    await hand.end(earlier, DiscardAsked())

    assert await holder(broker, make_job("c", unique=FINAL)) == "b"


@case("C158", "a new run takes the key again", level=Level.FLOW)
async def a_new_run_takes_the_key_again(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a", unique=FINAL))

    await hand.end(record, RetryAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"


@case("C159", "a new run is refused while another job holds the key", level=Level.FLOW)
async def a_new_run_is_refused_while_another_job_holds_the_key(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job("a", unique=FINAL))
    await stored(broker, make_job("b", unique=FINAL))

    answer = await act(broker, record, RetryAsked())

    assert isinstance(answer, Duplicate)
    assert answer.record.job.id == "b"
    assert await known(broker, record.job) == record


@case("C160", "the same id and key again answers with the job itself", level=Level.FLOW)
async def the_same_id_and_key_again_answers_with_the_job_itself(lab: Lab) -> None:
    broker = lab.broker
    job = make_job("a", unique=FINAL)
    await stored(broker, job)

    assert await holder(broker, job) == "a"


@case("C161", "a replaced holder keeps its key", level=Level.FLOW)
async def a_replaced_holder_keeps_its_key(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", unique=FINAL)
    await stored(broker, job)
    newer = make_job("a", unique=FINAL, payload=b'{"n":2}')

    await reschedule(broker, job, await lab.now(), newer)

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"
    assert (await hand.claim_one()).job.payload == b'{"n":2}'


@case("C162", "a refused job takes no key", level=Level.FLOW)
async def a_refused_job_takes_no_key(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("default", 0)
    await broker.enqueue([make_job("a", unique=FINAL)])
    await broker.set_queue_limit("default", None)

    assert await holder(broker, make_job("b", unique=FINAL)) is None


@case("C163", "a duplicate shows the state of the holder", level=Level.FLOW)
async def a_duplicate_shows_the_state_of_the_holder(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", unique=FINAL))
    await hand.claim_one()

    (answer,) = (await broker.enqueue([make_job("b", unique=FINAL)])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.head.state is State.RUNNING


@case("C164", "a follow up does not take a key that is held", level=Level.FLOW)
async def a_follow_up_does_not_take_a_key_that_is_held(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("parent"))
    parent = await hand.claim_one()
    await stored(broker, make_job("a", unique=FINAL))

    await hand.end(parent, Succeeded(follow_ups=(make_job("parent/1", unique=FINAL),)))

    assert ids(await hand.claim()) == ["a"]


@case("C165", "a job of another queue takes no key away", level=Level.FLOW)
async def a_job_of_another_queue_takes_no_key_away(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", unique=FINAL))
    await stored(broker, make_job("b", unique=FINAL, queue="mail"))

    assert await holder(broker, make_job("c", unique=FINAL)) == "a"
    assert await holder(broker, make_job("c", unique=FINAL, queue="mail")) == "b"


async def forget_a_holder(lab: Lab) -> None:
    """Let a job `a` take the key, end, be purged, and be forgotten."""
    policy = Policy(retention_ms=lab.tick_ms, remember_ms=2 * lab.tick_ms)
    hand = await lab.hand()
    await hand.run(make_job("a", unique=FINAL, policy=policy))
    await lab.elapse(lab.tick_ms)
    await lab.broker.purge(10)
    await lab.elapse(4 * lab.tick_ms)
    await lab.broker.purge(10)


@case("C166", "a job with the id of a forgotten one does not hold that one's key", level=Level.FLOW)
async def a_job_with_the_id_of_a_forgotten_one_does_not_hold_its_key(lab: Lab) -> None:
    await forget_a_holder(lab)

    await stored(lab.broker, *(make_job(f"n-{number}") for number in range(20)), make_job("a"))

    assert await holder(lab.broker, make_job("b", unique=FINAL)) is None


@case("C167", "a follow up with the id of a forgotten job does not hold its key", level=Level.FLOW)
async def a_follow_up_with_the_id_of_a_forgotten_job_does_not_hold_its_key(lab: Lab) -> None:
    await forget_a_holder(lab)
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("parent"))
    parent = await hand.claim_one()

    await hand.end(parent, Succeeded(follow_ups=(make_job("a"),)))

    assert await holder(broker, make_job("b", unique=FINAL)) is None


@case("C168", "the key that a job takes under a forgotten id is its own", level=Level.FLOW)
async def the_key_that_a_job_takes_under_a_forgotten_id_is_its_own(lab: Lab) -> None:
    await forget_a_holder(lab)

    await stored(lab.broker, make_job("a", unique=FINAL))

    assert await holder(lab.broker, make_job("b", unique=FINAL)) == "a"
