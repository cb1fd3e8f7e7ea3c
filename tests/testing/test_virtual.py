"""Virtual time: loops that never wait, in an order that only their seed decides."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest

from treadle.testing.sim.machine import Life, Machine
from treadle.testing.virtual import OWNER, Restless, SeededLoop


def run(main: Any, seed: int = 0) -> Any:
    options = {"loop_factory": lambda: SeededLoop(Random(seed))}
    return anyio.run(main, backend="asyncio", backend_options=options)


async def order_of_ten() -> list[int]:
    order: list[int] = []

    async def note(n: int) -> None:
        await anyio.sleep(1)
        order.append(n)

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(note, n)
    return order


def test_a_year_passes_in_no_time() -> None:
    async def main() -> float:
        await anyio.sleep(365 * 86_400)
        return anyio.current_time()

    assert run(main) == 365 * 86_400


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    assert run(order_of_ten, 1) == run(order_of_ten, 1)
    assert len({tuple(run(order_of_ten, seed)) for seed in range(5)}) > 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_waits_for_ever_ends_with_an_error() -> None:
    with pytest.raises(Restless, match="nothing is left"):
        run(anyio.sleep_forever)


def test_a_machine_that_is_killed_takes_no_further_step_and_cleans_nothing_up() -> None:
    seen: list[str] = []

    async def live(machine: Machine) -> None:
        OWNER.set(machine)
        with machine.scope:
            try:
                for n in range(3):
                    await anyio.sleep(1)
                    seen.append(f"step {n}")
            finally:
                seen.append("cleanup")

    async def main() -> list[str]:
        machine = Machine("m", anyio.current_time)
        before: list[str] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live, machine)
            await anyio.sleep(1.5)
            machine.kill()
            await anyio.sleep(10)
            before += seen
            machine.vanish()
        return before

    assert run(main) == ["step 0"]


def test_a_machine_that_stands_still_goes_on_where_it_was() -> None:
    seen: list[float] = []

    async def live(machine: Machine) -> None:
        OWNER.set(machine)
        for _ in range(3):
            await anyio.sleep(1)
            seen.append(anyio.current_time())

    async def main() -> Life:
        machine = Machine("m", anyio.current_time)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live, machine)
            await anyio.sleep(1.5)
            machine.stop()
            await anyio.sleep(10)
            machine.go_on()
        return machine.life

    assert run(main) is Life.RUNS
    assert seen == [1, 11.5, 12.5]
