"""What Hypothesis draws for tests of the domain: any job, any head, anything that may happen."""

from __future__ import annotations

from hypothesis import strategies as st

from treadle.domain.job import (
    KEEP,
    After,
    At,
    ErrorInfo,
    Head,
    HistoryRow,
    Job,
    OnCrash,
    Policy,
    Priority,
    Record,
    Ref,
)
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    DiscardAsked,
    Expired,
    Failed,
    Happening,
    Interrupted,
    LookedAt,
    Lost,
    Parked,
    Rejected,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
)
from treadle.domain.retry import Delays, Exponential, Fixed, Jitter, Linear, RetryPolicy
from treadle.domain.state import FINAL, Reason, State
from treadle.domain.unique import OnConflict, Scope, Unique

INSTANTS = st.integers(0, 2**45)
DURATIONS = st.integers(0, 2**40)
NAMES = st.text("abzAZ019_.-", min_size=1, max_size=8)
IDS = st.text("abzAZ019_.:/-", min_size=1, max_size=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
REFS = st.builds(Ref, NAMES, IDS)
JITTERS = st.sampled_from(Jitter)
KINDS = st.sampled_from(["builtins.ValueError", "builtins.OSError", "builtins.Exception"])

RETRIES: st.SearchStrategy[RetryPolicy] = st.one_of(
    st.builds(Fixed, delay_ms=DURATIONS, jitter=JITTERS),
    st.builds(Linear, base_ms=DURATIONS, cap_ms=DURATIONS, jitter=JITTERS),
    st.builds(Exponential, base_ms=DURATIONS, cap_ms=DURATIONS, jitter=JITTERS),
    st.builds(
        Delays,
        delays_ms=st.lists(DURATIONS, min_size=1, max_size=6).map(tuple),
        jitter=JITTERS,
    ),
)

POLICIES = st.builds(
    Policy,
    max_attempts=st.integers(1, 10),
    retry=RETRIES,
    retry_on=st.lists(KINDS, max_size=2).map(tuple),
    give_up_on=st.lists(KINDS, max_size=2).map(tuple),
    timeout_ms=DURATIONS,
    on_crash=st.sampled_from(OnCrash),
    retention_ms=st.none() | DURATIONS,
    dead_retention_ms=st.none() | DURATIONS,
    remember_ms=DURATIONS,
)

WHEN = st.builds(After, DURATIONS) | st.builds(At, INSTANTS)
DUE = WHEN | st.just(KEEP)

UNIQUES = st.builds(
    Unique,
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    scope=st.sampled_from(Scope),
    period_ms=DURATIONS,
    on_conflict=st.sampled_from(OnConflict),
)

JOBS = st.builds(
    Job,
    id=IDS,
    type=NAMES,
    payload=st.just(b'{"to": "ada"}'),
    queue=NAMES,
    priority=st.sampled_from(Priority),
    policy=POLICIES,
    due=WHEN,
    expires=st.none() | WHEN,
    unique=st.none() | UNIQUES,
    key=TEXT,
    after=st.lists(REFS, max_size=3).map(tuple),
    run_anyway=st.booleans(),
    meta=st.dictionaries(NAMES, TEXT, max_size=3),
)

ORDINARY_JOBS = st.builds(
    Job,
    id=st.just("job-1"),
    type=st.just("email.send"),
    due=WHEN,
    after=st.sampled_from([(), (Ref("default", "parent"),)]),
    run_anyway=st.booleans(),
)
"""Jobs of which only that differs which a decision may look at: quick to draw."""

ERRORS = st.builds(ErrorInfo, type=NAMES, message=TEXT, traceback=TEXT)

ROWS = st.builds(
    HistoryRow,
    event=NAMES,
    fence=st.integers(0, 2**40),
    attempt=st.integers(0, 20),
    at=INSTANTS,
    claimed=INSTANTS,
    ran_ms=DURATIONS,
    session=NAMES,
    reason=TEXT,
    error=st.none() | ERRORS,
    by=TEXT,
)

REASONS = st.sampled_from(Reason)

HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    st.builds(Succeeded, result=st.none() | st.just(b"1"), ran_ms=DURATIONS),
    st.builds(
        Failed,
        error=ERRORS,
        kinds=st.lists(KINDS, max_size=3).map(tuple),
        retry_after=st.none() | WHEN,
        give_up=st.booleans(),
        reason=st.sampled_from([Reason.EXHAUSTED, Reason.TIMEOUT]),
        ran_ms=DURATIONS,
    ),
    st.builds(Snoozed, due=WHEN, ran_ms=DURATIONS),
    st.builds(Cancelled, detail=TEXT, ran_ms=DURATIONS),
    st.builds(Interrupted, started=st.booleans(), ran_ms=DURATIONS),
    st.builds(Lost, ended=st.booleans(), started=st.booleans(), detail=TEXT),
    st.builds(Rejected, reason=REASONS, error=ERRORS, ran_ms=DURATIONS),
    st.builds(Parked, reason=REASONS, detail=TEXT),
    st.just(Expired()),
    st.builds(
        LookedAt,
        parents=st.lists(st.tuples(REFS, st.none() | st.sampled_from(State)), max_size=3).map(
            tuple
        ),
    ),
    st.builds(CancelAsked, by=TEXT),
    st.builds(RescheduleAsked, due=WHEN, job=st.none() | ORDINARY_JOBS, by=TEXT),
    st.builds(RetryAsked, by=TEXT),
    st.builds(DiscardAsked, by=TEXT),
)


@st.composite
def heads(draw: st.DrawFn, states: st.SearchStrategy[State] | None = None) -> Head:
    """Draw a head that a broker could hold, of one of `states`."""
    state = draw(states if states is not None else st.sampled_from(State))
    counts = draw(st.tuples(st.integers(0, 3), st.integers(0, 10), st.just(0) | INSTANTS))
    return Head(
        state=state,
        fence=draw(st.integers(1, 2**40)),
        due=draw(INSTANTS),
        attempt=draw(st.integers(1 if state is State.RUNNING else 0, 12)),
        deaths=counts[0],
        stalls=counts[1],
        parked=counts[2],
        delay_ms=draw(DURATIONS),
        expires=draw(st.just(0) | INSTANTS),
        cancel=draw(st.booleans()) if state is State.RUNNING else False,
        claimed=1_000,
        finished=2_000 if state in FINAL else 0,
        session="worker-1",
        blocked_on="tenant-1" if state is State.BLOCKED else "",
    )


@st.composite
def records(draw: st.DrawFn, states: st.SearchStrategy[State] | None = None) -> Record:
    """Draw a record that a broker could hold, of one of `states`."""
    return Record(job=draw(ORDINARY_JOBS), head=draw(heads(states)), created=0)
