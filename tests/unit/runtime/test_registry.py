"""Registries: handlers by name, groups, middleware, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.domain.job import Policy
from treadle.domain.outcome import Outcome
from treadle.errors import ConfigurationError, UnknownType
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.handlers import AsyncHandler, SyncHandler
from treadle.runtime.registry import Handlers, Registry


async def _send(to: str) -> str:
    return to


def _resize(width: int) -> int:
    return width


@pytest.mark.contract("F11", "R14")
def test_a_handler_is_registered_under_its_name_or_its_functions() -> None:
    registry = Registry()

    named = registry.handler("email.send", retry=5, timeout=30, queue="mail")(_send)
    bare = registry.handler(_resize)
    empty = registry.handler()(_send)

    assert dict(registry.handlers) == {"email.send": named, "_resize": bare, "_send": empty}
    assert (named.queue, named.timeout_ms, named.policy.max_attempts) == ("mail", 30_000, 6)
    assert isinstance(named, AsyncHandler)
    assert isinstance(bare, SyncHandler)
    assert (named.run_in, bare.run_in) == ("loop", "thread")


@pytest.mark.contract("F11")
def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    registry = Registry()
    registry.handler("email.send")(_send)

    assert registry.find("email.send").name == "email.send"
    with pytest.raises(UnknownType, match="Did you mean"):
        registry.find("email.sned")
    with pytest.raises(UnknownType, match="Known: email"):
        registry.find("zzz")


def test_two_handlers_of_one_name_are_refused_with_both_places() -> None:
    registry = Registry()
    registry.handler("email.send")(_send)

    with pytest.raises(ConfigurationError, match=r"two handlers.*_send and .*_resize"):
        registry.handler("email.send")(_resize)


@pytest.mark.security(6)
@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "é", "a/b"])
def test_a_name_that_no_broker_could_store_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="handler name"):
        Registry().handler(name)(_send)


def test_what_is_no_handler_is_refused() -> None:
    def yields():  # type: ignore[no-untyped-def]
        yield 1

    wrong: Any = 3
    with pytest.raises(ConfigurationError, match="yields"):
        Registry().handler("x")(yields)
    with pytest.raises(ConfigurationError, match="a handler is a function"):
        Registry().handler("x")(wrong)
    with pytest.raises(ConfigurationError, match="is async, so it runs in the loop"):
        Registry().handler("x", run_in="process")(_send)
    wrong = "cloud"
    with pytest.raises(ConfigurationError, match="run_in is 'thread', 'process' or 'loop'"):
        Registry().handler("x", run_in=wrong)(_resize)


def test_a_wrong_option_is_refused_where_it_is_written() -> None:
    wrong: Any = "sometimes"
    with pytest.raises(ConfigurationError, match="retries must be"):
        Registry().handler("x", retry=wrong)


def test_a_group_is_included_with_its_handlers_and_middleware() -> None:
    jobs, group = Registry(), Handlers()
    handler = group.handler("email.send")(_send)
    group.use(_pass)

    jobs.include(group)
    later = group.handler("resize")(_resize)

    assert dict(jobs.handlers) == {"email.send": handler, "resize": later}
    assert list(jobs.middleware) == [_pass]
    assert handler.registry is later.registry is jobs


def test_groups_may_hold_groups() -> None:
    jobs, outer, inner = Registry(), Handlers(), Handlers()
    jobs.include(outer)
    outer.include(inner)

    handler = inner.handler(_send)

    assert jobs.handlers == outer.handlers == {"_send": handler}
    assert handler.registry is jobs
    with pytest.raises(ConfigurationError, match="include itself"):
        inner.include(jobs)


def test_a_group_with_a_taken_name_is_not_included_at_all() -> None:
    jobs, group = Registry(), Handlers()
    jobs.handler("b")(_send)
    group.handler("a")(_send)
    group.handler("b")(_resize)

    with pytest.raises(ConfigurationError, match="two handlers are named 'b'"):
        jobs.include(group)

    assert set(jobs.handlers) == {"b"}


@pytest.mark.contract("F28")
def test_middleware_keeps_the_order_in_which_it_was_registered() -> None:
    registry = Registry()

    registry.use(_pass)
    registry.use(_also)

    assert list(registry.middleware) == [_pass, _also]


def test_handlers_of_no_application_cannot_enqueue_and_say_why() -> None:
    handler = Handlers().handler(_send)

    with pytest.raises(ConfigurationError, match="include"):
        handler.enqueue_sync("ada")


def test_defaults_of_the_application_hold_where_the_handler_says_nothing() -> None:
    class App(Registry):
        @property
        def default_policy(self) -> Policy:
            return Policy(max_attempts=8, timeout_ms=60_000)

        @property
        def payload_bytes(self) -> int:
            return 100

    group = Handlers()
    silent = group.handler("silent")(_send)
    loud = group.handler("loud", retry=0)(_send)
    before = silent.policy

    App().include(group)

    assert before == Policy()
    assert (silent.policy.max_attempts, silent.timeout_ms) == (8, 60_000)
    assert (loud.policy.max_attempts, loud.timeout_ms) == (1, 60_000)
    assert loud.options(retry=2).job_options.policy.timeout_ms == 60_000


async def _pass(attempt: Attempt, call_next: Next) -> Outcome:
    return await call_next(attempt)


async def _also(attempt: Attempt, call_next: Next) -> Outcome:
    return await call_next(attempt)
