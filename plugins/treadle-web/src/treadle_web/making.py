"""From what a caller sent to a job that a broker may store; everything is checked here."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import msgspec
from msgspec import UnsetType

from treadle.domain.job import Job
from treadle.domain.limits import PAYLOAD_BYTES
from treadle.errors import ConfigurationError, PayloadError
from treadle.runtime.client.check import JobCheck
from treadle.runtime.ids import new_id
from treadle.runtime.job_options import JobOptions, Options, amend, build
from treadle.runtime.json_numbers import BadNumber, check_numbers
from treadle_web.problems import invalid
from treadle_web.requests import NewJob
from treadle_web.web import Web


def make_job(web: Web, new: NewJob, at: str = "$") -> Job:
    """Make one job; `at` says where in the request it stands.

    Raises:
        Refusal: 422, naming the field that does not fit.
        UnknownType: if the application has no handler of this name.
        TooLarge: if the payload has too many bytes.
    """
    options = _options(new, at)
    payload = b"{}" if isinstance(new.payload, UnsetType) else bytes(new.payload)
    try:
        if web.typed:
            made = web.jobs.find(new.type).job_of_json(payload, options)
        else:
            base = JobOptions(policy=web.jobs.default_policy)
            made = build(new.type, new_id(), _checked(payload), amend(base, options))
        if web.typed:  # its handler checked payload and options just now
            _check_names(made.type, made.queue)
        else:
            _check(web.jobs.settings.payload_limit)([made])
    except PayloadError as error:
        path = f"{at}.payload{error.path.removeprefix('$')}"
        raise invalid(str(error), path, error.code) from None
    except ConfigurationError as error:
        raise invalid(str(error), at, error.code) from None
    return made


@lru_cache(maxsize=8)
def _check(payload_limit: int) -> JobCheck:
    return JobCheck(payload_limit)  # one that is kept remembers the names that it has seen


@lru_cache(maxsize=1_024)
def _check_names(type: str, queue: str) -> None:
    _check(PAYLOAD_BYTES)([Job(id="any", type=type, queue=queue)])


def _options(new: NewJob, at: str) -> Options:
    if new == NewJob(type=new.type, payload=new.payload):  # as almost all are
        return {}
    if not isinstance(new.delay, UnsetType) and not isinstance(new.run_at, UnsetType):
        raise invalid("give `delay` or `run_at`, not both", f"{at}.run_at")
    if isinstance(new.unique, UnsetType) and not isinstance(new.on_conflict, UnsetType):
        raise invalid("`on_conflict` needs `unique`", f"{at}.on_conflict")
    named = {
        "id": new.id,
        "queue": new.queue,
        "priority": new.priority,
        "delay": new.delay,
        "run_at": new.run_at,
        "expires": new.expires,
        "retry": new.retries,
        "timeout": new.timeout,
        "unique": new.unique,
        "on_conflict": new.on_conflict,
        "key": new.key,
        "meta": new.meta,
    }
    found = {name: value for name, value in named.items() if not isinstance(value, UnsetType)}
    return cast("Options", found)


def _checked(payload: bytes) -> bytes:
    """Return a payload if it is a JSON object that every broker can keep."""
    try:
        value: object = msgspec.json.decode(payload)
        check_numbers(value, payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"the payload is no JSON: {error}") from None
    except BadNumber as error:
        raise PayloadError(f"the payload: {error}", path=error.path) from None
    if not isinstance(value, dict):
        raise PayloadError("the payload must be a JSON object")
    return payload
