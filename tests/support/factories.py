"""Values for tests that state only what matters; everything else is ordinary."""

from __future__ import annotations

from typing import Any

from treadle.domain.decide import decide
from treadle.domain.job import DEFAULT_POLICY, ErrorInfo, Head, Job, Policy, Record
from treadle.domain.outcome import Change, Failed, Happening
from treadle.domain.retry import Rng
from treadle.domain.state import FINAL, State

NOW = 1_790_000_000_000
"""An ordinary instant of broker time."""


class Always:
    """Chance that always gives the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        """Return the number."""
        return self.value


HALF = Always(0.5)


def make_job(**over: Any) -> Job:
    """Make a job that could have been enqueued."""
    fields: dict[str, Any] = {"id": "job-1", "type": "email.send"}
    return Job(**{**fields, **over})


def make_head(state: State = State.RUNNING, **over: Any) -> Head:
    """Make a head: running in its first attempt, unless told otherwise."""
    fields: dict[str, Any] = {"state": state, "fence": 7, "due": NOW}
    if state is State.RUNNING:
        fields |= {"attempt": 1, "claimed": NOW - 100, "session": "worker-1"}
    elif state in FINAL:
        fields |= {"attempt": 1, "finished": NOW - 100, "session": "worker-1"}
    return Head(**{**fields, **over})


def make_record(
    state: State = State.RUNNING, *, job: Job | None = None, created: int = NOW, **head: Any
) -> Record:
    """Make a record; `head` names what its head has that is not ordinary."""
    return Record(job=job or make_job(), head=make_head(state, **head), created=created)


def make_failure(**over: Any) -> Failed:
    """Make the outcome of a handler that raised."""
    error = ErrorInfo(type="builtins.ValueError", message="no such address")
    kinds = ("builtins.ValueError", "builtins.Exception", "builtins.BaseException")
    fields: dict[str, Any] = {"error": error, "kinds": kinds}
    return Failed(**{**fields, **over})


def change_of(
    record: Record,
    happening: Happening,
    policy: Policy = DEFAULT_POLICY,
    *,
    now: int = NOW,
    rng: Rng = HALF,
) -> Change:
    """Decide, and insist that the answer replaces a head."""
    answer = decide(record, happening, policy, now, rng)
    assert isinstance(answer, Change), answer
    return answer
