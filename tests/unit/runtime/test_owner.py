"""Whose a task is, and what a log line says about it."""

from __future__ import annotations

import ast
from contextvars import copy_context
from typing import Any

import pytest

from tests.support.factories import make_job
from tests.support.source import CORE, python_files, tree
from treadle.broker.base import Lease
from treadle.runtime.attempt import Attempt
from treadle.runtime.owner import OWNER, job_fields
from treadle.runtime.slots import Slot


def test_outside_of_a_job_nothing_is_said() -> None:
    assert job_fields() == {}


@pytest.mark.contract("F17")
def test_every_line_of_ours_about_a_job_says_its_status() -> None:
    silent = [
        f"{path.name}:{node.lineno}"
        for path in python_files(CORE / "runtime")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        and (keys := {key.value for key in node.keys if isinstance(key, ast.Constant)})
        and "job_id" in keys
        and "status" not in keys
    ]

    assert not silent


@pytest.mark.contract("F17")
@pytest.mark.anyio
async def test_a_task_that_outlives_its_attempt_is_not_taken_for_the_next_one() -> None:
    slot, lease, context = Slot(), Lease("mail", "job-1", 7), copy_context()
    context.run(OWNER.set, (slot, lease))
    nothing: Any = None
    slot.attempt = Attempt(
        job=make_job(id="job-2", queue="mail"),
        number=1,
        lease=Lease("mail", "job-2", 8),
        handler=nothing,
        tools=nothing,
    )

    said = context.run(job_fields)

    assert said == {"job_id": "job-1", "queue": "mail", "status": "ended"}


def test_in_a_child_process_the_attempt_is_all_that_is_known() -> None:
    context = copy_context()
    context.run(OWNER.set, Lease("mail", "job-1", 7))

    assert context.run(job_fields) == {"job_id": "job-1", "queue": "mail", "status": "running"}
