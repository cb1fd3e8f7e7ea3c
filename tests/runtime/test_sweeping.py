"""The sweeper and what it cannot decide about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest
from msgspec import structs

from tests.support.works import Works
from treadle.broker.base import Broker, Overdue
from treadle.conformance.faults import Faults
from treadle.conformance.layer import Layer
from treadle.domain.job import Record
from treadle.domain.state import State

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Misled(Layer):
    """A broker whose index of what is overdue names records first that are final."""

    def __init__(self, inner: Broker, wrong: list[Record]) -> None:
        super().__init__(inner)
        self.wrong = wrong

    def another(self) -> Broker:
        return Misled(self.inner.another(), self.wrong)

    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:
        del call
        return await run()

    async def overdue(self, limit: int) -> Overdue:
        found = await self.inner.overdue(limit)
        return structs.replace(found, records=(*self.wrong, *found.records)[:limit])


@pytest.mark.parametrize("wrong", [100, 250, 5_000])
async def test_records_that_nothing_is_decided_about_hold_up_no_others(
    works: Works, wrong: int
) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work")
    await works.burst()
    final = await works.get(id)
    assert final.head.state is State.SUCCEEDED
    lost = await works.enqueue("work")
    dead = await works.broker.open("dead", 1_000, b"{}")
    await works.broker.claim(dead.session, ["default"], 1)
    works.broker = Misled(works.broker, [final] * wrong)

    async with works.worker():
        await works.until_final(lost)

    assert (await works.get(lost)).head.state is State.SUCCEEDED


async def test_a_sweep_of_what_never_moves_comes_to_an_end(works: Works, road: Faults) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work")
    await works.burst()
    works.broker = Misled(works.broker, [await works.get(id)] * 10_000)
    road.calls.clear()

    async with works.worker():
        await anyio.sleep(60)  # virtual

    assert road.calls["overdue"] < 60 * 10
