"""What the memory broker says by its URL: whose store it is."""

from __future__ import annotations

import gc

import pytest

from treadle.broker.base import Capability
from treadle.broker.memory import MemoryBroker, treadle_broker
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, stored
from treadle.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on both event loops, on this broker only."""
    return str(request.param)


def made(url: str) -> MemoryBroker:
    """Make a broker as the hook does."""
    broker = treadle_broker(parse(url), MovableClock())
    assert isinstance(broker, MemoryBroker)
    return broker


async def test_brokers_without_a_name_have_stores_of_their_own() -> None:
    first, second = made("memory://"), made("memory://")
    await stored(first, make_job())

    assert (await second.stats()).queues == ()


async def test_brokers_of_one_name_share_a_store() -> None:
    first, second = made("memory://tests"), made("memory://tests")
    await stored(first, make_job("a"))

    assert ids(await (await Hand.open(second)).claim()) == ["a"]


async def test_names_and_namespaces_are_kept_apart() -> None:
    first = made("memory://tests?namespace=one")
    await stored(first, make_job())

    for url in ("memory://tests?namespace=two", "memory://tests", "memory://other?namespace=one"):
        assert (await made(url).stats()).queues == ()


async def test_a_shared_store_goes_with_its_last_broker() -> None:
    first = made("memory://tests")
    await stored(first, make_job())

    del first
    gc.collect()

    assert (await made("memory://tests").stats()).queues == ()


async def test_it_wakes_at_once_and_outlives_nothing() -> None:
    capabilities = made("memory://").capabilities

    assert Capability.PUSH in capabilities
    assert not capabilities & {Capability.DURABLE, Capability.SHARED}


def test_an_option_that_it_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="speed"):
        made("memory://?speed=high")
