"""The model accepts what the protocol allows, and says which sentence forbids the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec import structs

from treadle.broker.values import (
    Applied,
    Claimed,
    Conflict,
    Duplicate,
    Enqueued,
    Opened,
    Settled,
    Stats,
)
from treadle.conformance.hand import change, make_job, ref
from treadle.conformance.model import Disagreement, Model, When, calls
from treadle.domain.head import blocked_on, claimed, first, replaced
from treadle.domain.job import After, Job, Policy, Priority, Record, Ref
from treadle.domain.outcome import Interrupted, Removal, Succeeded
from treadle.domain.unique import Unique

NOW = 1_000_000
"""The clock stands still, if a test does not say otherwise."""
S = "session"


class Bench:
    """A model that was told what a good broker did so far."""

    def __init__(self, now: int = NOW, slack_ms: int = 0) -> None:
        self.model = Model(slack_ms)
        self.now = now

    def tell(
        self, call: calls.Call, answer: object, after: Mapping[Ref, Record | None] | None = None
    ) -> bool:
        return self.model.judge(call, answer, When(self.now, self.now), after or {})

    def stored(self, *jobs: Job, fence: int = 1) -> None:
        results = [Applied(fence=fence)] * len(jobs)
        self.tell(calls.Enqueue(jobs), Enqueued(now=self.now, results=results))

    def opened(self, lease_ms: int = 60_000) -> None:
        call = calls.Open(name="ada", lease_ms=lease_ms)
        self.tell(call, Opened(now=self.now, session=S))

    def claim(self, records: Sequence[Record], limit: int = 10) -> bool:
        call = calls.Claim(session=S, queues=("default",), limit=limit)
        return self.tell(call, Claimed(now=self.now, records=records))


def running(job: Job, now: int = NOW) -> Record:
    """Show a job as the first claim leaves it."""
    return Record(job=job, head=claimed(first(job, NOW, 1), S, now), created=NOW)


def standing(job: Job) -> Record:
    """Show a job as it was stored."""
    return Record(job=job, head=first(job, NOW, 1), created=NOW)


A, B, C = make_job("a"), make_job("b"), make_job("c")


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.opened()
    return bench


def test_immediate_jobs_are_claimed_in_the_order_of_their_enqueueing(bench: Bench) -> None:
    bench.stored(A, B)

    with pytest.raises(Disagreement, match="ties as enqueued"):
        bench.claim([running(B), running(A)])


def test_a_job_is_not_passed_over(bench: Bench) -> None:
    bench.stored(A, B)

    with pytest.raises(Disagreement, match="ties as enqueued"):
        bench.claim([running(B)])


def test_fewer_than_the_limit_are_claimed_only_if_there_are_no_more(bench: Bench) -> None:
    bench.stored(A, B)

    assert not bench.claim([running(A)], limit=1)
    with pytest.raises(Disagreement):
        bench.claim([])


def test_priority_is_strict(bench: Bench) -> None:
    high = make_job("high", priority=Priority.HIGH)
    bench.stored(A, high)

    with pytest.raises(Disagreement, match="priority"):
        bench.claim([running(A)], limit=1)


def test_timers_within_a_second_of_each_other_come_in_any_order(bench: Bench) -> None:
    one, two = make_job("one", due=After(1_000)), make_job("two", due=After(1_500))
    bench.stored(one, two)
    bench.now = NOW + 2_000

    bench.claim([running(two, bench.now), running(one, bench.now)])

    get = calls.Get((ref(one), ref(two)))
    bench.tell(get, [running(one, bench.now), running(two, bench.now)])


def test_timers_further_apart_go_by_their_due_time(bench: Bench) -> None:
    one, two = make_job("one", due=After(1_000)), make_job("two", due=After(2_500))
    bench.stored(one, two)
    bench.now = NOW + 5_000

    with pytest.raises(Disagreement, match="due time"):
        bench.claim([running(two, bench.now), running(one, bench.now)])


def test_a_job_that_waits_again_may_come_anywhere(bench: Bench) -> None:
    bench.stored(A, B)
    bench.claim([running(A)], limit=1)
    back = change(running(A), Interrupted(started=False), NOW)
    bench.tell(calls.Apply((back,)), Settled(now=NOW, results=[Applied(fence=3)]))
    head = claimed(replaced(running(A).head, back, NOW), S, NOW)

    assert bench.claim([Record(job=A, head=head, created=NOW)], limit=1)


def test_what_is_not_due_is_not_claimed(bench: Bench) -> None:
    later = make_job("later", due=After(10))
    bench.stored(later)

    with pytest.raises(Disagreement):
        bench.claim([running(later)])


def test_where_time_runs_what_is_due_inside_the_window_may_come_or_not() -> None:
    for comes in (True, False):
        bench = Bench(slack_ms=20)
        bench.opened()
        later = make_job("later", due=After(10))
        bench.stored(later)
        call = calls.Claim(session=S, queues=("default",), limit=1)
        head = structs.replace(running(later).head, due=NOW + 12, claimed=NOW + 12)
        record = Record(job=later, head=head, created=NOW)
        answer = Claimed(now=NOW + 5, records=[record] if comes else [])

        assert bench.model.judge(call, answer, When(NOW, NOW + 20), {})


def test_a_claim_for_a_session_that_expired_is_refused(bench: Bench) -> None:
    bench.stored(A)
    bench.now = NOW + 60_000

    with pytest.raises(Disagreement, match="SessionEnded"):
        bench.claim([running(A, bench.now)])


def test_a_job_whose_key_is_full_must_be_put_aside(bench: Bench) -> None:
    one, two = make_job("one", key="slot"), make_job("two", key="slot")
    bench.tell(calls.SetLimit("slot", 1), None)
    bench.stored(one, two)
    call = calls.Claim(session=S, queues=("default",), limit=10)
    answer = Claimed(now=NOW, records=[running(one)])
    assert bench.model.wants(call) == (ref(one), ref(two))

    aside = Record(job=two, head=blocked_on(first(two, NOW, 1), "slot", NOW), created=NOW)
    with pytest.raises(Disagreement, match="blocked"):
        bench.tell(call, answer, {ref(two): standing(two)})
    fresh = Bench()
    fresh.opened()
    fresh.tell(calls.SetLimit("slot", 1), None)
    fresh.stored(one, two)
    fresh.tell(call, answer, {ref(two): aside})


def test_any_of_those_that_wait_again_may_take_the_last_slot_of_their_key(bench: Bench) -> None:
    one, two = make_job("one", key="slot"), make_job("two", key="slot")
    bench.stored(one, two)
    bench.claim([running(one), running(two)])
    back = [change(running(job), Interrupted(started=False), NOW) for job in (one, two)]
    bench.tell(calls.Apply(tuple(back)), Settled(now=NOW, results=[Applied(fence=3)] * 2))
    bench.tell(calls.SetLimit("slot", 1), None)
    waiting = [
        replaced(running(job).head, write, NOW) for job, write in zip((one, two), back, strict=True)
    ]
    taken = Record(job=two, head=claimed(waiting[1], S, NOW), created=NOW)
    aside = Record(job=one, head=blocked_on(waiting[0], "slot", NOW), created=NOW)
    call = calls.Claim(session=S, queues=("default",), limit=10)

    is_free = bench.tell(call, Claimed(now=NOW, records=[taken]), {ref(one): aside})

    assert is_free


def test_the_first_waiter_must_be_let_in_when_a_slot_is_free(bench: Bench) -> None:
    one, two = make_job("one", key="slot"), make_job("two", key="slot")
    bench.tell(calls.SetLimit("slot", 1), None)
    bench.stored(one, two)
    aside = Record(job=two, head=blocked_on(first(two, NOW, 1), "slot", NOW), created=NOW)
    call = calls.Claim(session=S, queues=("default",), limit=10)
    bench.tell(call, Claimed(now=NOW, records=[running(one)]), {ref(two): aside})
    done = change(running(one), Succeeded(), NOW)

    settled = Settled(now=NOW, results=[Applied(fence=3)])
    with pytest.raises(Disagreement, match="first waiter"):
        bench.tell(calls.Apply((done,)), settled, {ref(two): aside})


def test_a_stale_fence_conflicts_and_shows_what_stands(bench: Bench) -> None:
    bench.stored(A)
    bench.claim([running(A)])
    stale = structs.replace(change(running(A), Succeeded(), NOW), fence=1)

    bench.tell(calls.Apply((stale,)), Settled(now=NOW, results=[Conflict(record=running(A))]))
    with pytest.raises(Disagreement, match="fence differs"):
        bench.tell(calls.Apply((stale,)), Settled(now=NOW, results=[Applied(fence=3)]))


def test_the_first_fence_of_an_id_is_the_stores_own(bench: Bench) -> None:
    bench.stored(A, fence=70)
    head = structs.replace(running(A).head, fence=71)

    bench.claim([Record(job=A, head=head, created=NOW)])


def test_an_id_that_is_forgotten_goes_on_above_all_its_fences(bench: Bench) -> None:
    brief = make_job("a", policy=Policy(remember_ms=0))
    bench.stored(brief)
    bench.claim([running(brief)])
    done = change(running(brief), Succeeded(), NOW)
    bench.tell(calls.Apply((done,)), Settled(now=NOW, results=[Applied(fence=3)]))
    removal = Removal(queue="default", id="a", fence=3, remember_ms=0)
    bench.tell(calls.Apply((removal,)), Settled(now=NOW, results=[Applied(fence=3)]))

    for fence in (1, 3):
        with pytest.raises(Disagreement, match="fence of a new record is greater"):
            bench.stored(brief, fence=fence)
    bench.stored(brief, fence=4)


def test_a_follow_up_may_be_stored_under_any_fence_that_its_id_never_had(bench: Bench) -> None:
    bench.stored(A)
    bench.claim([running(A)])
    done = change(running(A), Succeeded(follow_ups=(B,)), NOW)
    settled = Settled(now=NOW, results=[Applied(fence=3)])
    found = structs.replace(standing(B), head=first(B, NOW, 70))

    bench.tell(calls.Apply((done,)), settled, {ref(B): found})
    bench.tell(calls.Get((ref(B),)), [found])


def test_a_unique_key_that_is_held_makes_a_duplicate(bench: Bench) -> None:
    holder, rival = make_job("a", unique=Unique(key="k")), make_job("b", unique=Unique(key="k"))
    bench.stored(holder)

    duplicate = Duplicate(record=standing(holder))
    bench.tell(calls.Enqueue((rival,)), Enqueued(now=NOW, results=[duplicate]))
    with pytest.raises(Disagreement, match="holds the key"):
        bench.stored(rival)


def test_an_id_that_is_stored_is_a_duplicate_with_the_record_that_stands(bench: Bench) -> None:
    bench.stored(A)

    with pytest.raises(Disagreement):
        bench.stored(A)
    wrong = Duplicate(record=running(A))
    with pytest.raises(Disagreement):
        bench.tell(calls.Enqueue((A,)), Enqueued(now=NOW, results=[wrong]))


@pytest.mark.parametrize("answer", [None, 7, "done", Claimed(now=NOW, records=[]), OSError("gone")])
def test_an_answer_that_makes_no_sense_is_a_disagreement(bench: Bench, answer: object) -> None:
    for call in (calls.Count(), calls.Get((ref(A),)), calls.Enqueue((A,)), calls.AskOverdue(1)):
        with pytest.raises(Disagreement):
            bench.tell(call, answer)


def test_a_clock_that_stands_still_allows_no_other_instant(bench: Bench) -> None:
    with pytest.raises(Disagreement, match="broker time"):
        bench.tell(calls.Count(), Stats(now=NOW + 1, queues=()))


def test_a_disagreement_says_what_was_asked_answered_and_allowed(bench: Bench) -> None:
    bench.stored(A)

    with pytest.raises(Disagreement) as caught:
        bench.claim([])

    found = caught.value
    assert isinstance(found.asked, calls.Claim)
    assert "a" in str(found.answered)
    assert "Order:" in found.sentence
    for part in ("asked:", "answered:", "allowed:", "protocol:"):
        assert part in str(found)
