"""Every statement finds its rows by an index: nothing grows slow with the number of finished jobs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources

import pytest

from treadle.broker.sqlite.migrate import schema_version
from treadle.broker.sqlite.statements import load, migrations, topics

_EXPECTED = re.compile(r"^-- plan: (.+)$", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)

STATEMENTS = [(topic, name) for topic in topics() for name in load(topic)]

# Tables that stay small: a row for each queue, limit, session; and what a caller gives.
_SMALL = ("queue", "climit", "session", "CONSTANT ROW", "(subquery", "json_each")
# An index of running jobs, of which there are few.
_RUNNING = "USING INDEX job_run"
# They read one row from the beginning or the end.
_ONE_ROW = {
    *("last_seq", "add_event", "newest_event", "newest", "add_one"),
    *("any_edge", "any_waiter", "first_key"),
}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as made:
        for script in migrations():
            made.executescript(script)
        yield made


def expected(topic: str, name: str) -> list[str]:
    text = (resources.files("treadle.broker.sqlite") / "sql" / f"{topic}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return _EXPECTED.findall(parts[parts.index(name) + 1])


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    sql = re.sub(r":\w+", "?", sql.replace("{many}", "?"))
    values = (1,) * sql.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize(("topic", "name"), STATEMENTS, ids=[".".join(s) for s in STATEMENTS])
def test_a_statement_uses_the_index_that_is_written_beside_it(
    connection: sqlite3.Connection, topic: str, name: str
) -> None:
    steps = plan(connection, load(topic)[name])

    for index in expected(topic, name):
        assert any(index in step for step in steps), steps


@pytest.mark.parametrize(("topic", "name"), STATEMENTS, ids=[".".join(s) for s in STATEMENTS])
def test_no_statement_reads_a_table_that_grows_from_end_to_end(
    connection: sqlite3.Connection, topic: str, name: str
) -> None:
    steps = plan(connection, load(topic)[name])

    scans = [
        step
        for step in steps
        if step.startswith("SCAN") and not any(small in step for small in (*_SMALL, _RUNNING))
    ]
    assert not scans or name in _ONE_ROW, steps


@pytest.mark.parametrize("name", ["candidates", "next_due"])
def test_a_claim_sorts_nothing(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, load("claims")[name])

    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_there_is_a_script_for_each_schema() -> None:
    assert schema_version() == len(migrations()) >= 1
