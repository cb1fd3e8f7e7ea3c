"""What the contracts share: putting a job in, reading it, listing, and naming its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta, Raw, structs

from treadle import JobNotFound, PayloadError
from treadle.broker.base import Filter
from treadle.cli.views import embedded
from treadle.domain.job import Record, Ref
from treadle.domain.limits import JOB_ID
from treadle.domain.state import State
from treadle.profile import Asked
from treadle.runtime.ids import new_id
from treadle.runtime.job_options import Options

MOST: Final = 1_000
"""Most jobs that are read at once."""
_AT_ONCE: Final = 100
"""Records come with payload and history, and one may be large."""
DAY_S: Final = 86_400
_RETRYING: Final = "retrying"

Retries = Annotated[int, Meta(ge=0, le=1_000)]
"""How often a failed job is tried again."""
Object = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
"""A JSON object, as it was written; the handler of a job looks at what is in it."""

Words = Mapping[State | str, str]
"""What a contract calls each state; `retrying` is waiting after a failure."""


def words(*, waits: str, runs: str, ended: str, dead: str, retrying: str = "") -> Words:
    """Return the words of a contract; what it does not know looks like what is next to it."""
    return {
        State.WAITING: waits,
        State.BLOCKED: waits,
        State.RUNNING: runs,
        State.SUCCEEDED: ended,
        State.DEAD: dead,
        State.CANCELLED: dead,
        _RETRYING: retrying or waits,
    }


def status(record: Record, known: Words) -> str:
    """Name the state of a job."""
    head = record.head
    failed = head.state is State.WAITING and head.attempt > 0
    return known[_RETRYING if failed else head.state]


def failing(known: Words) -> str:
    """Return the word for waiting after a failure."""
    return known[_RETRYING]


def as_added(record: Record) -> Record:
    """Return a job as it was when it was enqueued: a worker may have been quick."""
    head = structs.replace(
        record.head, state=State.WAITING, attempt=0, claimed=0, finished=0, reason=""
    )
    return structs.replace(record, head=head, result=None, history=())


def retries(record: Record) -> int:
    """Count the retries that were begun or are waited for."""
    head = record.head
    return head.attempt if head.state is State.WAITING else max(head.attempt - 1, 0)


def updated(record: Record) -> int:
    """Return when something happened to a job last, in ms."""
    last = record.history[-1].at if record.history else 0
    return max(record.created, record.head.claimed, record.head.finished, last)


def payload(asked: Asked[Any, Any], record: Record) -> Any:
    """Return the arguments of a job, without what the setting `redact` hides."""
    return _json(asked, record.job.payload, "payload")


def text(asked: Asked[Any, Any], record: Record) -> Any:
    """Return the argument `payload` of a job that has only that one; all of them, if it has others."""
    whole = payload(asked, record)
    return cast(
        "Any", whole["payload"] if isinstance(whole, dict) and "payload" in whole else whole
    )


def result(asked: Asked[Any, Any], record: Record) -> Any:
    """Return the result of a job, without what the setting `redact` hides; None if it has none."""
    return _json(asked, record.result, "result")


def _json(asked: Asked[Any, Any], data: bytes | None, name: str) -> Any:
    shown = embedded(data, name, asked.settings.redact)
    return shown if shown is None or isinstance(shown, str) else msgspec.json.decode(shown)


def queue(asked: Asked[Any, Any]) -> str:
    """Return the queue of the contract's jobs: the first one that workers serve."""
    return asked.settings.worker.queues[0]


async def put(
    asked: Asked[Any, Any],
    type: str,
    data: bytes,
    *,
    ids: Callable[[], str],
    retries: int | None = None,
    at: str = "$",
    **options: Any,
) -> Record:
    """Enqueue one job under the first of `ids` that is free, and return it as it is stored.

    `retries`, or the setting `job.retries` if it was given, goes before what the handler says.
    `at` is where the arguments stand in the body of the request; no id is taken for what does not fit.

    Raises:
        UnknownType: if there is no handler for it.
        PayloadError: if its handler does not take this payload.
        QueueFull: if as many wait as may; nothing was stored.
    """
    handler = asked.jobs.find(type)
    if retries is None and asked.settings.origin("job.retries") != "default":
        retries = asked.settings.job.retries
    given = options if retries is None else {**options, "retry": retries}
    # No two requests make the same body: a job that is there already is never taken for ours.
    own = {**given, "queue": queue(asked), "meta": {"request": new_id()}}
    try:
        fitting = handler.job_of_json(data, cast("Options", own))
    except PayloadError as error:
        raise PayloadError(str(error), path=f"{at}{error.path.removeprefix('$')}") from None
    while True:
        job = structs.replace(fitting, id=ids())
        (handle,) = await asked.client.enqueue([job], checked=True)
        if handle.is_new is not False:
            return await asked.client.get(Ref(job.queue, job.id))


async def read(asked: Asked[Any, Any], id: str, *, type: str = "") -> Record:
    """Return a job of this contract, if it is of that type where one is given.

    Raises:
        JobNotFound: if it is not known, or not kept any more.
    """
    if JOB_ID.fullmatch(id) is None:
        raise JobNotFound(f"no job {id!r}")
    record = await asked.client.get(Ref(queue(asked), id))
    if type and record.job.type != type and not record.forgotten:
        raise JobNotFound(f"no job {id!r} of this service")
    if record.forgotten:
        raise JobNotFound(f"job {id} ended and its record was purged")
    return record


async def newest(
    asked: Asked[Any, Any], limit: int, *, skip: int = 0, type: str | None = None
) -> list[Record]:
    """Return jobs of this contract with all that is known of them, the newest first.

    Those to skip are walked over by cursor: what they hold is not read.
    """
    wanted = Filter(queue=queue(asked), type=type)
    found: list[Record] = []
    cursor: str | None = None
    while True:
        most = min(skip + limit - len(found), MOST)
        page = await asked.client.find(wanted, cursor=cursor, limit=most)
        found += page.records[skip:]
        skip = max(skip - len(page.records), 0)
        cursor = page.cursor
        if cursor is None or len(found) >= limit:
            return await full(asked, [record.ref for record in found[:limit]])


async def full(asked: Asked[Any, Any], refs: Sequence[Ref]) -> list[Record]:
    """Return jobs with all that is known of them; those that are gone are left out."""
    broker = await asked.client.broker()
    found: list[Record] = []
    for start in range(0, len(refs), _AT_ONCE):
        got = await broker.get(refs[start : start + _AT_ONCE])
        found += [record for record in got if record is not None and not record.forgotten]
    return found
