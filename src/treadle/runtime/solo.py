"""Suspects run alone, so that an innocent neighbour of a crasher is cleared and the crasher is found.

A job that was present when its process died runs next in a child process, with nothing beside it.
The parent keeps the lease and settles: if the child dies, the job is lost with one more death to its
name and nobody else is hurt; when it comes back, it is cleared. A child whose last suspect came back
serves the next one, so that a crash with many short jobs costs one interpreter start and not one each;
children end when no suspect is left.

A handler that a child could not import (one defined inside a function) runs in the worker's own
process, but only while nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from treadle.domain.outcome import Failed, Lost, Outcome
from treadle.runtime.attempt import Attempt
from treadle.runtime.crew import Crew
from treadle.runtime.options import MOST_SOLO
from treadle.runtime.processes import DIED, UNBORN, ProcessPool


class Alone:
    """The innermost of the chain for suspects; `crews` gives the ordinary crew and that of suspects."""

    def __init__(self, app: str, crews: Callable[[], tuple[Crew, Crew]]) -> None:
        self._app = app
        self._crews = crews
        self._turn = anyio.Lock()
        self._children: ProcessPool | None = None

    async def run(self, attempt: Attempt) -> Outcome:
        """Run an attempt where its end hurts nobody."""
        if not self._app and "<locals>" in attempt.handler.function.__qualname__:
            return await self._while_quiet(attempt)
        outcome = await self._in_child(attempt)
        if isinstance(outcome, Failed) and outcome.error.type == DIED:
            return Lost(ended=True, detail=f"ran alone: {outcome.error.message}")
        if isinstance(outcome, Failed) and outcome.error.type == UNBORN:
            return Lost(started=False, detail=outcome.error.message)
        return outcome

    async def _in_child(self, attempt: Attempt) -> Outcome:
        children = self._children
        if children is None:
            _, suspects = self._crews()
            children = ProcessPool(MOST_SOLO, app=self._app, limits=suspects)
            self._children = children
        try:
            return await children.run(attempt)
        finally:
            _, suspects = self._crews()
            if suspects.busy <= 1 and not suspects.buffer and self._children is children:
                self._children = None
                await children.aclose()

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
