"""Workers that die without a word, and what they leave."""

from __future__ import annotations

from typing import Any

from tests.support.works import Works


async def die(works: Works, name: str, count: int) -> None:
    """Claim jobs as a worker that then dies without a word, and let its lease end."""
    opened = await works.broker.open(name, 1_000, b"{}")
    await works.broker.claim(opened.session, ["default"], count)


async def suspect(works: Works, type: str, payload: bytes = b"{}", **over: Any) -> str:
    """Store a job that was present at a death and waits to run alone."""
    id = await works.enqueue(type, payload, **over)
    await die(works, f"dead of {id}", 1)
    async with works.worker(name="undertaker", selection=works.nothing):
        await works.until_waiting(id)
    return id
