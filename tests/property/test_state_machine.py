"""The domain alone, driven through long lives of jobs: no broker, no worker, no clock.

The store below is the smallest one that the domain allows: it keeps records, compares fences and
replaces heads. Every claim stays in somebody's hands for ever, so late writes of zombies are as
frequent as good ones.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from msgspec import structs

from tests.support.factories import NOW, make_failure, make_job
from tests.support.strategies import RETRIES
from treadle.domain import head as heads
from treadle.domain.conflict import Verdict, after_conflict
from treadle.domain.decide import decide
from treadle.domain.job import After, ErrorInfo, Head, Job, OnCrash, Policy, Record, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    CancelRequest,
    Change,
    DiscardAsked,
    Expired,
    Happening,
    Interrupted,
    LookedAt,
    Lost,
    Parked,
    Refused,
    Rejected,
    Removal,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
    Write,
)
from treadle.domain.state import FINAL, Event, Reason, State

SLOTS = 1
"""How many jobs of one concurrency key may run."""

ENDINGS: st.SearchStrategy[Happening] = st.sampled_from(
    [
        Succeeded(result=b"1"),
        make_failure(),
        make_failure(give_up=True),
        make_failure(retry_after=After(20)),
        Snoozed(due=After(500)),
        Cancelled(),
        Interrupted(started=True),
        Interrupted(started=False),
        Lost(ended=True),
        Lost(ended=False),
        Rejected(reason=Reason.BAD_ARGUMENTS, error=ErrorInfo(type="PayloadError")),
        Parked(reason=Reason.UNKNOWN_TYPE),
        Parked(reason=Reason.UNSUPPORTED_VERSION),
        Expired(),
    ]
)
REQUESTS: st.SearchStrategy[Happening] = st.sampled_from(
    [CancelAsked(), RescheduleAsked(due=After(0)), RetryAsked(), DiscardAsked()]
)
POLICIES = st.builds(
    Policy,
    max_attempts=st.integers(1, 4),
    retry=RETRIES,
    on_crash=st.sampled_from([OnCrash.RETRY, OnCrash.RETRY, OnCrash.DEAD]),
)


class Store:
    """Records by id: compares fences, replaces heads, frees and fills concurrency keys."""

    def __init__(self) -> None:
        self.now = NOW
        self.records: dict[str, Record] = {}
        self.highest: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        """How often a job became final in its present run."""

    def enqueue(self, job: Job) -> None:
        head = heads.first(job, self.now, self.highest.get(job.id, 0) + 1)
        self.records[job.id] = Record(job=job, head=head, created=self.now)
        self.highest[job.id] = head.fence
        self.ended[job.id] = 0

    def running_of(self, key: str) -> int:
        return sum(
            1
            for record in self.records.values()
            if record.job.key == key and record.head.state is State.RUNNING
        )

    def claim(self, id: str, session: str) -> Record | None:
        record = self.records[id]
        key = record.job.key
        if key and self.running_of(key) >= SLOTS:
            self._put(record, heads.blocked_on(record.head, key, self.now))
            return None
        self._put(record, heads.claimed(record.head, session, self.now))
        return self.records[id]

    def apply(self, write: Write) -> bool:
        record = self.records.get(write.id)
        if record is None or not heads.accepts(record.head, write):
            return False
        match write:
            case Removal():
                del self.records[write.id]
            case CancelRequest():
                head = structs.replace(record.head, cancel=True)
                self.records[write.id] = structs.replace(record, head=head)
            case Change():
                self._replace(record, write)
        return True

    def _replace(self, record: Record, change: Change) -> None:
        assert record.head.state not in FINAL or change.event is Event.RETRY
        if change.fresh:
            self.ended[change.id] = 0
        self.ended[change.id] += change.state in FINAL
        row = () if change.history is None else (change.history,)
        record = structs.replace(
            record,
            history=(*record.history, *row),
            edges=record.edges if change.edges is None else change.edges,
        )
        self._put(record, heads.replaced(record.head, change, self.now))
        self._unblock_one(record.job.key)

    def _unblock_one(self, key: str) -> None:
        for waiter in self.records.values():
            if key and waiter.head.blocked_on == key and self.running_of(key) < SLOTS:
                self._put(waiter, heads.unblocked(waiter.head, self.now))
                return

    def _put(self, record: Record, head: Head) -> None:
        assert head.fence > self.highest[record.job.id], "a fence never repeats"
        self.highest[record.job.id] = head.fence
        self.records[record.job.id] = structs.replace(record, head=head)

    def parents(self, record: Record) -> LookedAt:
        def state(ref: Ref) -> State | None:
            parent = self.records.get(ref.id)
            return None if parent is None else parent.head.state

        waits_for = () if record.head.blocked_on else record.job.after
        return LookedAt(parents=tuple((ref, state(ref)) for ref in waits_for))


class LivesOfJobs(RuleBasedStateMachine):
    """Claims, endings, zombies, requests and time in any order."""

    jobs: Bundle[str] = Bundle("jobs")
    held: Bundle[Record] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.rng = Random(0)
        self.count = 0

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.rng = Random(seed)

    @rule(
        target=jobs,
        policy=POLICIES,
        due=st.sampled_from([0, 0, 5_000]),
        key=st.sampled_from(["", "", "tenant-1"]),
        expires=st.sampled_from([None, None, After(4_000)]),
    )
    def enqueue(self, policy: Policy, due: int, key: str, expires: After | None) -> str:
        self.count += 1
        job = make_job(
            id=f"job-{self.count}", policy=policy, due=After(due), key=key, expires=expires
        )
        self.store.enqueue(job)
        return job.id

    @rule(target=jobs, parent=jobs, policy=POLICIES, run_anyway=st.booleans())
    def enqueue_child(self, parent: str, policy: Policy, run_anyway: bool) -> str:
        self.count += 1
        job = make_job(
            id=f"job-{self.count}",
            policy=policy,
            after=(Ref("default", parent),),
            run_anyway=run_anyway,
        )
        self.store.enqueue(job)
        return job.id

    @rule(target=held, id=jobs, session=st.sampled_from(["w-1", "w-2"]))
    def claim(self, id: str, session: str) -> Record | MultipleResults[Record]:
        record = self.store.records.get(id)
        if record is None or record.head.state is not State.WAITING:
            return multiple()
        self.store.now = max(self.store.now, record.head.due)
        claimed = self.store.claim(id, session)
        return multiple() if claimed is None else claimed

    @rule(record=held, happening=ENDINGS, resent=st.booleans())
    def settle(self, record: Record, happening: Happening, resent: bool) -> None:
        self._settle(record, happening, resent=resent)

    @rule(record=consumes(held), happening=ENDINGS)
    def settle_and_forget(self, record: Record, happening: Happening) -> None:
        self._settle(record, happening, resent=False)

    @rule(id=jobs, happening=REQUESTS)
    def ask(self, id: str, happening: Happening) -> None:
        record = self.store.records.get(id)
        if record is None:
            return
        answer = self._decide(record, happening)
        if not isinstance(answer, Refused):
            assert self.store.apply(answer), "what is decided for what stands is accepted"

    @rule(id=jobs)
    def cancel_while_it_runs(self, id: str) -> None:
        record = self.store.records.get(id)
        if record is not None and record.head.state is State.RUNNING:
            self.ask(id, CancelAsked())

    @rule(id=jobs)
    def look(self, id: str) -> None:
        record = self.store.records.get(id)
        if record is None or record.head.state is not State.BLOCKED:
            return
        self.store.now = max(self.store.now, record.head.due)
        answer = self._decide(record, self.store.parents(record))
        assert isinstance(answer, Change)
        assert self.store.apply(answer)

    @rule(passed=st.sampled_from([1, 500, 30_000, 700_000]))
    def time_passes(self, passed: int) -> None:
        self.store.now += passed

    @precondition(lambda self: self.count > 2)
    @rule()
    def a_worker_dies(self) -> None:
        for record in list(self.store.records.values()):
            if record.head.state is State.RUNNING and record.head.session == "w-1":
                answer = self._decide(record, Lost(ended=True))
                assert isinstance(answer, Change)
                assert self.store.apply(answer)

    def _decide(self, record: Record, happening: Happening) -> Write | Refused:
        return decide(record, happening, record.job.policy, self.store.now, self.rng)

    def _settle(self, record: Record, happening: Happening, *, resent: bool) -> None:
        write = self._decide(record, happening)
        assert not isinstance(write, Refused)
        before = self.store.records.get(record.job.id)
        if self.store.apply(write):
            assert before is not None
            assert before.head.fence == record.head.fence
            return
        assert self.store.records.get(record.job.id) is before, "a refused write changes nothing"
        if after_conflict(write, before, resent=resent) is Verdict.AGAIN:
            assert before is not None
            again = self._decide(before, happening)
            assert not isinstance(again, Refused)
            assert self.store.apply(again)
            assert self.store.records[record.job.id].head.state in FINAL

    @invariant()
    def heads_are_sound(self) -> None:
        for record in self.store.records.values():
            head, policy = record.head, record.job.policy
            assert 0 <= head.attempt <= policy.max_attempts
            assert head.attempt >= (head.state is State.RUNNING)
            assert head.attempt < policy.max_attempts or head.state in FINAL | {State.RUNNING}
            assert head.state is State.RUNNING or not head.cancel
            assert head.state is State.BLOCKED or not head.blocked_on
            assert (head.finished > 0) is (head.state in FINAL)
            assert bool(head.reason) or head.state not in {State.DEAD, State.CANCELLED}
            assert head.state in FINAL or (head.deaths < 3 and head.stalls < 10)

    @invariant()
    def a_job_ends_once_a_run(self) -> None:
        for name, record in self.store.records.items():
            assert self.store.ended[name] == (record.head.state in FINAL)

    @invariant()
    def history_is_in_order_and_keyed_by_fences_that_never_repeat(self) -> None:
        for record in self.store.records.values():
            fences = [row.fence for row in record.history]
            assert fences == sorted(set(fences))
            assert not fences or fences[-1] < record.head.fence

    @invariant()
    def no_concurrency_key_has_more_than_its_slots(self) -> None:
        assert self.store.running_of("tenant-1") <= SLOTS

    def teardown(self) -> None:
        """Every job can still be brought to an end: nothing is stranded."""
        for _ in range(len(self.store.records) + 3):
            for name in list(self.store.records):
                self.look(name)
                record = self.store.records[name]
                if record.head.state is State.RUNNING:
                    self._settle(record, Succeeded(), resent=False)
                if record.head.state is State.WAITING:
                    self.store.now = max(self.store.now, record.head.due)
                    claimed = self.store.claim(name, "w-9")
                    if claimed is not None:
                        self._settle(claimed, Succeeded(), resent=False)
        assert all(record.head.state in FINAL for record in self.store.records.values())


TestLivesOfJobs = pytest.mark.promise(4, 7, 15)(LivesOfJobs.TestCase)
TestLivesOfJobs.settings = settings(max_examples=100, stateful_step_count=40)
