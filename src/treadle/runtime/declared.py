"""What `@jobs.cron`, `@jobs.every` and settings leave behind: a schedule, a handler, its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import msgspec
from msgspec import Struct

from treadle.domain.cron import LOOK_BACK_MS, CatchUp, Cron, Every, Schedule, When, check
from treadle.domain.job import Job
from treadle.domain.limits import PAYLOAD_BYTES_HARD
from treadle.domain.timetable import Entry, Origin, check_name, declare, template
from treadle.errors import ConfigurationError, PayloadError, TooLarge
from treadle.runtime.duration import Duration, to_ms
from treadle.runtime.job_options import HandlerOptions, Options

if TYPE_CHECKING:
    from treadle.runtime.enqueuer import Enqueuer
    from treadle.runtime.handlers import AnyHandler
    from treadle.runtime.registry import Registry
    from treadle.settings import ScheduleSettings, Settings

CatchUpName = Literal["all", "once", "skip"]


class ScheduleOptions(TypedDict, total=False):
    """What can be said about a schedule, beside when it fires; each may be left out."""

    payload: Mapping[str, Any]
    """The arguments of the handler, by name."""
    catch_up: CatchUpName
    """What becomes of ticks while no scheduler ran: "all" of them are fired [this], "once", or "skip"."""
    look_back: Duration
    """How late a tick may still be fired [60 s], at most 1 hour."""


class CronOptions(HandlerOptions, ScheduleOptions, total=False):
    """What `@jobs.cron` and `@jobs.every` take: options of the schedule, and of its jobs."""


def split(given: CronOptions) -> tuple[ScheduleOptions, Options]:
    """Return what is said of the schedule, and what of its jobs."""
    own = ScheduleOptions.__annotations__.keys()
    schedule = {name: value for name, value in given.items() if name in own}
    options = {name: value for name, value in given.items() if name not in own}
    return cast("ScheduleOptions", schedule), cast("Options", options)


class Declared(Struct, frozen=True, kw_only=True):
    """One schedule of an application's code, or of its settings."""

    name: str
    schedule: Schedule
    handler: AnyHandler
    make: Callable[[], Job]
    origin: Origin = Origin.CODE

    def job(self) -> Job:
        """Return the pattern of its jobs, under the settings of the application.

        Raises:
            PayloadError: if the arguments do not fit.
        """
        return template(self.make(), self.name)

    def entry(self, standing: Entry | None, now: int) -> Entry:
        """Return what shall stand in the store for it, where `standing` stands.

        Raises:
            PayloadError: if the arguments do not fit.
        """
        return declare(standing, self.name, self.schedule, self.job(), now, self.origin)

    def stands_as(self, entry: Entry) -> bool:
        """Tell whether an entry is of this very definition, also if it was edited or paused since."""
        return self.entry(entry, 0) is entry


def make_schedule(when: When, given: ScheduleOptions) -> Schedule:
    """Put a schedule together.

    Raises:
        ConfigurationError: if it cannot be used; says what to write instead.
    """
    back = given.get("look_back")
    policy = given.get("catch_up", "all")
    if policy not in set(CatchUp):
        raise ConfigurationError(f"catch_up is 'all', 'once' or 'skip', got {policy!r}")
    schedule = Schedule(
        when=when,
        catch_up=CatchUp(policy),
        look_back_ms=LOOK_BACK_MS if back is None else to_ms(back, "look_back"),
    )
    check(schedule)
    return schedule


def make_declared(
    name: str | None,
    schedule: Schedule,
    handler: AnyHandler,
    enqueuer: Enqueuer[..., Any],
    payload: Mapping[str, Any],
) -> Declared:
    """Put a schedule, a handler and its arguments together.

    Raises:
        PayloadError: if the arguments do not fit the handler.
        ConfigurationError: if the name cannot be one.
    """
    arguments = dict(payload)
    # Checked now, so that the line with the mistake is in the traceback.
    handler.arguments.encode(handler.arguments.bind((), dict(arguments)), PAYLOAD_BYTES_HARD)
    own = check_name(handler.name if name is None else name)
    make = lambda: enqueuer.job(**arguments)  # noqa: E731 - settings are known when it is called
    return Declared(name=own, schedule=schedule, handler=handler, make=make)


def configured(name: str, settings: Settings, registry: Registry) -> Declared:
    """Put a schedule of the settings together with the handler that it names.

    Raises:
        ConfigurationError: if there is no such handler, or the arguments do not fit it; names the path.
    """
    said = settings.schedules[name]

    def misplaced(text: str, field: str) -> ConfigurationError:
        path = f"schedules.{name}.{field}"
        when = f"schedules.{name}.{'every' if said.cron is None else 'cron'}"
        origin = settings.origin(path if path in settings.origins else when)
        return ConfigurationError(f"{text.rstrip('.')} - at `$.{path}` ({origin})")

    wanted = name if said.type is None else said.type
    handler = registry.handlers.get(wanted)
    if handler is None:
        raise misplaced(f"no handler for {wanted!r}. {registry.hint(wanted)}", "type")
    payload = msgspec.json.encode(said.payload)
    try:
        handler.arguments.accept(payload, PAYLOAD_BYTES_HARD)
    except (PayloadError, TooLarge) as error:
        text = str(error).removesuffix(" Nothing was enqueued.")
        raise misplaced(text, "payload") from error
    given: ScheduleOptions = {"catch_up": said.catch_up}
    if said.look_back is not None:
        given["look_back"] = said.look_back
    enqueuer = handler.options(**_job_options(said))
    return Declared(
        name=name,
        schedule=make_schedule(_when(said), given),
        handler=handler,
        make=lambda: enqueuer.job_of_json(payload),
        origin=Origin.SETTINGS,
    )


def _job_options(said: ScheduleSettings) -> Options:
    found = {
        "queue": said.queue,
        "priority": said.priority,
        "retry": said.retries,
        "timeout": said.timeout,
    }
    return cast("Options", {name: value for name, value in found.items() if value is not None})


def _when(said: ScheduleSettings) -> When:
    if said.cron is not None:
        return Cron(expr=said.cron, tz=said.tz)
    return Every(period_ms=to_ms(0 if said.every is None else said.every, "every"))
