"""How long a job holds its unique key."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.factories import NOW
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique, held_until, holding_states, holds

FITTING = ["k", "k" * 256, "\u00e4" * 128, "\U0001f600" * 64]
UNFIT = ["", "k" * 257, "\u00e4" * 129, "\U0001f600" * 65, "a\ud800"]

WAITING = {State.WAITING, State.BLOCKED}
NOT_FINAL = WAITING | {State.RUNNING}


@pytest.mark.parametrize(
    ("scope", "holding"),
    [(Scope.WAITING, WAITING), (Scope.FINAL, NOT_FINAL), (Scope.PERIOD, set[State]())],
)
@pytest.mark.parametrize("state", list(State))
def test_a_key_holds_in_the_states_of_its_scope(
    scope: Scope, holding: set[State], state: State
) -> None:
    mask = holding_states(Unique(key="k", scope=scope))

    assert holds(mask, 0, state, NOW) is (state in holding)


@pytest.mark.parametrize("state", [*State, None])
def test_a_key_of_a_period_holds_until_it_is_over_whatever_became_of_the_job(
    state: State | None,
) -> None:
    unique = Unique(key="k", scope=Scope.PERIOD, period_ms=1_000)
    mask, until = holding_states(unique), held_until(unique, NOW)

    assert holds(mask, until, state, NOW + 999)
    assert not holds(mask, until, state, NOW + 1_000)


@pytest.mark.parametrize("scope", [Scope.WAITING, Scope.FINAL])
def test_a_key_whose_job_is_gone_no_longer_holds(scope: Scope) -> None:
    assert not holds(holding_states(Unique(key="k", scope=scope)), 0, None, NOW)


@pytest.mark.parametrize("scope", [Scope.WAITING, Scope.FINAL])
def test_only_a_period_has_an_end(scope: Scope) -> None:
    assert held_until(Unique(key="k", scope=scope, period_ms=1_000), NOW) == 0


@pytest.mark.parametrize("key", FITTING)
def test_a_key_may_have_256_bytes(key: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(Unique(key=key)), type=Unique).key == key


@pytest.mark.parametrize("key", UNFIT)
def test_a_key_that_is_empty_or_longer_or_no_text_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Unique(key=key)


def test_a_stored_key_that_is_too_long_is_refused_too() -> None:
    with pytest.raises(msgspec.ValidationError, match="256 bytes"):
        msgspec.json.decode(msgspec.json.encode({"key": "\u00e4" * 129}), type=Unique)
