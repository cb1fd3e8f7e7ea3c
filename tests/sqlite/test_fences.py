"""The fences of an id go on after it was forgotten, whoever opens the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tests.sqlite import look
from treadle.broker.base import Applied
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.sqlite.migrate import APPLICATION_ID, schema_version
from treadle.broker.sqlite.statements import migrations
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, act, make_job
from treadle.domain.job import Policy
from treadle.domain.outcome import DiscardAsked, Succeeded
from treadle.errors import BrokerRefused, TooLarge

pytestmark = [pytest.mark.anyio, pytest.mark.promise(4)]

UNREMEMBERED = Policy(remember_ms=0)


def write_the_first_schema(file: Path) -> None:
    """Make a file as the first version made it, with a job for each fence."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(migrations()[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO queue (id, name, waiting) VALUES (1, 'default', 3)")
        rows = [(1, 7), (13, 12), (1, "many"), (1, 2**62)]
        for number, (state, fence) in enumerate(rows, 1):
            connection.execute(
                "INSERT INTO job (seq, id, queue, prio, state, fence, due, created)"
                " VALUES (?, ?, 1, 1, ?, ?, 0, 0)",
                (number, f"old-{number}", state, fence),
            )
        connection.commit()


async def first_fence(broker: SqliteBroker, *names: str) -> int:
    """Store jobs, and return the fence of all of them."""
    answers = (await broker.enqueue([make_job(name) for name in names])).results
    (fence,) = {answer.fence for answer in answers if isinstance(answer, Applied)}
    return fence


async def remove_one(hand: Hand) -> int:
    """Run a job and remove it, so that nothing remembers its id; return its last fence."""
    record = await hand.run(make_job(policy=UNREMEMBERED))
    answer = await act(hand.broker, record, DiscardAsked())
    assert isinstance(answer, Applied)
    return answer.fence


async def test_a_file_of_the_first_schema_goes_on_above_all_that_is_in_it(
    file: Path, clock: MovableClock
) -> None:
    write_the_first_schema(file)

    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as broker:
        fence = await first_fence(broker, "new")

    assert fence == 13
    assert await look.on(file, "PRAGMA user_version") == [(schema_version(),)]


async def test_jobs_that_are_stored_together_share_their_first_fence(
    broker: SqliteBroker, hand: Hand
) -> None:
    last = await remove_one(hand)

    many = await first_fence(broker, *(f"many-{number}" for number in range(20)))
    few = await first_fence(broker, "few-1", "few-2")
    one = await first_fence(broker, "one")

    assert [many, few, one] == [last + 1] * 3
    records = await hand.claim()
    assert {record.head.fence for record in records} == {last + 2}


async def test_another_process_finds_where_fences_go_on(
    file: Path, clock: MovableClock, broker: SqliteBroker, hand: Hand
) -> None:
    last = await remove_one(hand)

    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as other:
        assert await first_fence(other, "a") == last + 1


async def test_a_damaged_fence_does_not_use_up_all_that_are_left(
    file: Path, broker: SqliteBroker, hand: Hand
) -> None:
    record = await hand.run(make_job("a", policy=UNREMEMBERED))
    await look.on(file, f"UPDATE job SET fence = {2**62} WHERE id = 'a'")  # noqa: S608 # of ours
    damaged = await hand.broker.get([record.ref])

    assert damaged[0] is not None
    assert isinstance(await act(broker, damaged[0], DiscardAsked()), Applied)

    assert await first_fence(broker, "b") == 1


@pytest.mark.parametrize("value", ["'many'", "x'ff00'", "1.5", "-7", str(2**62)])
async def test_a_damaged_highest_fence_is_named_with_what_to_do(
    file: Path, broker: SqliteBroker, hand: Hand, value: str
) -> None:
    await broker.enqueue([make_job("before")])
    await look.on(file, f"UPDATE meta SET value = {value} WHERE name = 'fence'")  # noqa: S608 # of ours
    told: list[BrokerRefused] = []

    async def refused(name: str) -> None:
        with pytest.raises(BrokerRefused) as caught:
            await broker.enqueue([make_job(name)])
        told.append(caught.value)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(refused, f"refused-{number}")
    record = await hand.claim_one()
    await hand.end(record, Succeeded())

    (message,) = {str(error) for error in told}
    assert str(file) in message
    assert "backup" in message
    await look.on(file, message.partition('"')[2].rstrip('"'))
    assert await first_fence(broker, "repaired") == 1_000_000_000_001


async def test_a_neighbour_that_fails_does_not_lower_it(broker: SqliteBroker, hand: Hand) -> None:
    records = [await hand.run(make_job(policy=UNREMEMBERED)) for _ in range(10)]

    async def spoil() -> None:
        with pytest.raises(TooLarge):
            await broker.put_document("large", b"x" * 100_000, 0)

    async with anyio.create_task_group() as group:
        for record in records:
            group.start_soon(act, broker, record, DiscardAsked())
            group.start_soon(spoil)

    assert await first_fence(broker, "b") == max(record.head.fence for record in records) + 1
