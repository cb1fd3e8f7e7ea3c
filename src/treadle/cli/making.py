"""From what a command or a line says to a job that a broker may store; everything is checked here."""

from __future__ import annotations

import msgspec

from treadle.app import Jobs
from treadle.cli.lines import Line
from treadle.domain.job import Job
from treadle.errors import PayloadError
from treadle.runtime.client.check import JobCheck
from treadle.runtime.ids import new_id
from treadle.runtime.job_options import JobOptions, Options, PriorityName, amend, build
from treadle.runtime.json_numbers import BadNumber, check_numbers
from treadle.settings import duration


class Maker:
    """Makes jobs; `typed` ones only of the types of `jobs`, with payloads that fit its handlers."""

    def __init__(self, jobs: Jobs, *, typed: bool) -> None:
        self.jobs = jobs
        self._typed = typed
        self._check = JobCheck(jobs.settings.payload_limit)
        self._base = JobOptions(policy=jobs.default_policy)

    def job(
        self,
        kind: str,
        payload: bytes,
        *,
        id: str | None = None,
        queue: str | None = None,
        priority: PriorityName | None = None,
        delay: float | str | None = None,
        unique: str | None = None,
    ) -> Job:
        """Make one job.

        Raises:
            UnknownType: if the app has no handler of this name; says which one was perhaps meant.
            PayloadError: naming the field that does not fit.
            ConfigurationError: if an option cannot be used.
        """
        given: Options = {}
        if id is not None:
            given["id"] = id
        if queue is not None:
            given["queue"] = queue
        if priority is not None:
            given["priority"] = priority
        if unique is not None:
            given["unique"] = unique
        if delay is not None:
            given["delay"] = _seconds(delay)
        if self._typed:
            made = self.jobs.find(kind).job_of_json(payload, given)
        else:
            made = build(kind, new_id(), _checked(kind, payload), amend(self._base, given))
        self._check([made])
        return made

    def of_line(self, line: Line) -> Job:
        """Make the job of a line; raises what `job` raises."""
        return self.job(
            line.type,
            bytes(line.payload),
            id=line.id,
            queue=line.queue,
            priority=line.priority,
            delay=line.delay,
            unique=line.unique,
        )


def _seconds(delay: float | str) -> float:
    try:
        return duration(delay).total_seconds()
    except ValueError as error:
        raise PayloadError(f"delay {delay!r}: {error}", path="$.delay") from None


def _checked(kind: str, payload: bytes) -> bytes:
    """Return a payload if it is a JSON object that every broker can keep."""
    try:
        value: object = msgspec.json.decode(payload)
        check_numbers(value, payload)
    except (msgspec.DecodeError, BadNumber, UnicodeDecodeError) as error:
        raise PayloadError(f"{kind}: the payload is no JSON that can be kept: {error}") from None
    except RecursionError:
        raise PayloadError(f"{kind}: the payload is nested too deep") from None
    if not isinstance(value, dict):
        raise PayloadError(f"{kind}: the payload must be a JSON object")
    return payload
