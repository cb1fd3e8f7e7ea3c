"""Suspects run alone, so that an innocent neighbour of a crasher is cleared and the crasher is found.

A job that was present when its process died runs next in a fresh child process of its own. The
parent keeps the lease and settles: if the child dies, the job is lost with one more death to its name
and nobody else is hurt; when it comes back, it is cleared.

A handler that a child could not import (one defined inside a function) runs in the worker's own
process, but only while nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from treadle.domain.outcome import Failed, Lost, Outcome
from treadle.runtime.attempt import Attempt
from treadle.runtime.processes import DIED, UNBORN, ProcessPool
from treadle.runtime.slots import Crew


class Alone:
    """The innermost of the chain for suspects; `crews` gives the ordinary crew and that of suspects."""

    def __init__(self, app: str, crews: Callable[[], tuple[Crew, Crew]]) -> None:
        self._app = app
        self._crews = crews
        self._turn = anyio.Lock()

    async def run(self, attempt: Attempt) -> Outcome:
        """Run an attempt where its end hurts nobody."""
        if not self._app and "<locals>" in attempt.handler.function.__qualname__:
            return await self._while_quiet(attempt)
        async with ProcessPool(1, app=self._app) as children:
            outcome = await children.run(attempt)
        if isinstance(outcome, Failed) and outcome.error.type == DIED:
            return Lost(ended=True, detail=f"ran alone: {outcome.error.message}")
        if isinstance(outcome, Failed) and outcome.error.type == UNBORN:
            return Lost(started=False, detail=outcome.error.message)
        return outcome

    async def _while_quiet(self, attempt: Attempt) -> Outcome:
        crew, suspects = self._crews()
        suspects.pause_limit(attempt)
        async with self._turn:
            try:
                await crew.hold()
                suspects.start_limit(attempt)
                return await attempt.handler.run(attempt)
            finally:
                crew.release()
