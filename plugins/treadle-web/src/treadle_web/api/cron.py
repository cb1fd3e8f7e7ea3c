"""Schedules over HTTP: what fires when; pause, resume, and run now."""

from __future__ import annotations

from msgspec import Struct

from treadle.cli.cron_views import CronView, cron_view, state_of
from treadle.runtime.schedules import Listed
from treadle_web.idempotency import Created, first_state
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.problems import Refusal


class ScheduleOut(Struct, frozen=True, kw_only=True):
    """One schedule."""

    name: str
    state: str
    """`active`, `paused`, `orphan` if the code has it no more, or `new` if no scheduler ran yet."""
    schedule: str
    tz: str | None
    catch_up: str
    origin: str
    type: str
    queue: str
    next: str | None
    paused: str | None
    by: str | None


class Schedules(Struct, frozen=True, kw_only=True):
    """Every schedule, by name."""

    items: tuple[ScheduleOut, ...]


@operation("GET", "/api/v1/cron", scope=Scope.READ, answer=Schedules)
async def list_cron(ask: Ask[Nothing, None]) -> Reply:
    """List every schedule: those of the code, those stored, and orphans that the code lost."""
    now = await ask.web.now()
    listed = await ask.web.jobs.schedules.list()
    items = (_out(one, now) for one in listed)
    return reply(Schedules(items=tuple(one for one in items if ask.who.may_use(one.queue))))


@operation("GET", "/api/v1/cron/{name}", scope=Scope.READ, answer=ScheduleOut, problems=(404,))
async def read_cron(ask: Ask[Nothing, None]) -> Reply:
    """Tell one schedule."""
    return reply(_out(await _listed(ask), await ask.web.now()))


@operation(
    "POST", "/api/v1/cron/{name}/pause", scope=Scope.OPERATE, answer=ScheduleOut, problems=(404,)
)
async def pause_cron(ask: Ask[Nothing, None]) -> Reply:
    """Fire no ticks until it is resumed; jobs that exist go on."""
    found = await _listed(ask)
    await ask.web.jobs.schedules.pause(found.entry.name, by=ask.by)
    return await _changed(ask, "schedule_paused", found)


@operation(
    "POST", "/api/v1/cron/{name}/resume", scope=Scope.OPERATE, answer=ScheduleOut, problems=(404,)
)
async def resume_cron(ask: Ask[Nothing, None]) -> Reply:
    """Fire ticks again, from now on: nothing is caught up."""
    found = await _listed(ask)
    await ask.web.jobs.schedules.resume(found.entry.name)
    return await _changed(ask, "schedule_resumed", found)


@operation(
    "POST",
    "/api/v1/cron/{name}/run",
    scope=Scope.OPERATE,
    answer=Created,
    status=(201,),
    problems=(404, 409, 507),
)
async def run_cron(ask: Ask[Nothing, None]) -> Reply:
    """Enqueue its job now, whether it is paused or not; its ticks go on as they are."""
    found = await _listed(ask)
    job = await ask.web.jobs.schedules.job(found.entry.name)
    (handle,) = await ask.web.client.enqueue([job])
    state = first_state(job, ask.web.client.now_ms())
    ask.audit(
        "schedule_run",
        before="absent",
        after=state.value,
        schedule=found.entry.name,
        queue=handle.queue,
        job=handle.id,
    )
    made = Created(id=handle.id, queue=handle.queue, type=handle.type, state=state, is_new=True)
    return reply(made, 201)


async def _changed(ask: Ask[Nothing, None], event: str, found: Listed) -> Reply:
    """Write to the audit log how a schedule was and is, and answer with it."""
    now, stands = await ask.web.now(), await _listed(ask)
    name, before, after = found.entry.name, state_of(found), state_of(stands)
    ask.audit(event, before=before, after=after, schedule=name)
    return reply(_out(stands, now))


async def _listed(ask: Ask[Nothing, None]) -> Listed:
    name = ask.path["name"]
    for one in await ask.web.jobs.schedules.list():
        if one.entry.name == name and ask.who.may_use(_out(one, 0).queue):
            return one
    raise Refusal(404, "schedule_not_found", "no schedule has this name")


def _out(listed: Listed, now: int) -> ScheduleOut:
    view: CronView = cron_view(listed, now, None, None)
    names = ScheduleOut.__struct_fields__
    return ScheduleOut(**{name: getattr(view, name) for name in names})


OPERATIONS = (list_cron, read_cron, pause_cron, resume_cron, run_cron)
