"""A worker refuses to start on a store that promises less than the setting `durability` asks for."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.contract.adapters import Adapter
from tests.support.places import Place
from treadle import Handlers
from treadle.broker.base import Durability
from treadle.errors import BrokerRefused
from treadle.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.promise(2)]

POWER = Settings(durability=Durability.POWER_LOSS)


async def test_a_worker_made_in_code_refuses_less_than_was_asked_for(
    adapter: Adapter, tmp_path: Path
) -> None:
    place = Place(adapter, tmp_path, options="?durability=process", settings=POWER)

    async with place.broker:
        with pytest.raises(BrokerRefused, match="power-loss"), anyio.fail_after(300):
            await place.make_worker(burst=True).run()

        assert not await place.broker.sessions()


async def test_a_worker_of_handlers_asks_for_what_their_application_does(
    adapter: Adapter, tmp_path: Path
) -> None:
    place = Place(adapter, tmp_path, options="?durability=process", settings=POWER)
    handlers = Handlers()
    place.jobs.include(handlers)

    assert handlers.durability is Durability.POWER_LOSS
    assert Handlers().durability is None


async def test_a_worker_starts_on_what_was_asked_for(adapter: Adapter, tmp_path: Path) -> None:
    level = Durability.NONE if adapter.name == "memory" else Durability.POWER_LOSS
    place = Place(adapter, tmp_path, settings=Settings(durability=level))

    async with place.broker:
        worker = place.make_worker(burst=True)
        with anyio.fail_after(300):
            await worker.run()

    assert worker.started.is_set()
