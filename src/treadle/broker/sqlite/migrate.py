"""Which files are ours, and how an older one becomes a current one.

`application_id` says that a file is ours, `user_version` which schema it has. Both are set in the
transaction that makes the tables, under the side lock, so ten processes that start together make one
schema, and a crash leaves either none of it or all.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from treadle.broker.sqlite.statements import migrations
from treadle.errors import BrokerRefused

APPLICATION_ID = 0x5452444C
"""`TRDL`."""


def schema_version() -> int:
    """Return the schema that this version writes."""
    return len(migrations())


def refuse_foreign(raw: sqlite3.Connection, file: Path) -> None:
    """Refuse a file of another program, or of a newer version, before anything is changed in it.

    Raises:
        BrokerRefused: naming the file and what to do.
    """
    owner = _number(raw, "application_id")
    if owner == 0 and _number(raw, "user_version") == 0 and _is_empty(raw):
        return
    if owner != APPLICATION_ID:
        raise BrokerRefused(
            f"{file} is the database of another program (application id {owner:#x}): nothing was"
            " changed in it. Choose another file"
        )
    found = _number(raw, "user_version")
    if found > schema_version():
        raise BrokerRefused(
            f"{file} was written by a newer version (schema {found}, this one knows"
            f" {schema_version()}). Upgrade treadle"
        )


def migrate(raw: sqlite3.Connection, file: Path) -> None:
    """Apply what is missing, in one transaction.

    Raises:
        BrokerRefused: if somebody else made the file theirs meanwhile.
    """
    if _number(raw, "user_version") == schema_version():
        return
    raw.execute("BEGIN IMMEDIATE")
    try:
        refuse_foreign(raw, file)
        for script in migrations()[_number(raw, "user_version") :]:
            for statement in _split(script):
                raw.execute(statement)
        raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        raw.execute(f"PRAGMA user_version = {schema_version()}")
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raise


def _split(script: str) -> list[str]:
    """Split a script into statements; `executescript` would commit between them."""
    statements: list[str] = []
    text = ""
    for line in script.splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements


def _number(raw: sqlite3.Connection, pragma: str) -> int:
    return int(raw.execute(f"PRAGMA {pragma}").fetchone()[0])


def _is_empty(raw: sqlite3.Connection) -> bool:
    return int(raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]) == 0
