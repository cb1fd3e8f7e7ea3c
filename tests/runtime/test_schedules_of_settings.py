"""Schedules of the settings become those of the application, as if its code had said them."""

from __future__ import annotations

from typing import Any

import pytest

from treadle import ConfigurationError, Jobs
from treadle.broker.base import Broker
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.domain.timetable import Origin
from treadle.runtime.clock import SystemClock
from treadle.runtime.schedules import Schedules
from treadle.settings import ScheduleSettings, Settings

pytestmark = pytest.mark.anyio


def _app(**schedules: ScheduleSettings) -> Jobs:
    origins = {f"schedules.{name}.cron": "treadle.toml" for name in schedules}
    jobs = Jobs("memory://", settings=Settings(schedules=schedules, origins=origins))

    @jobs.handler("report.build", queue="reports", priority="low", retry=7, timeout=9)
    async def build_report(region: str = "us") -> None: ...

    return jobs


def _daily(**over: Any) -> ScheduleSettings:
    given: dict[str, Any] = {"cron": "@daily", "type": "report.build", **over}
    return ScheduleSettings(**given)


@pytest.mark.contract("F26")
async def test_settings_say_the_same_as_a_decorator_would() -> None:
    jobs = _app(nightly=_daily(payload={"region": "eu"}, priority="high", tz="Asia/Tokyo"))
    code = Jobs("memory://")

    @code.cron("@daily", tz="Asia/Tokyo", name="nightly", payload={"region": "eu"}, priority="high")
    @code.handler("report.build", queue="reports", priority="low", retry=7, timeout=9)
    async def build_report(region: str = "us") -> None: ...

    own, decorated = jobs.timetable["nightly"], code.timetable["nightly"]

    assert own.job() == decorated.job()
    assert own.schedule == decorated.schedule
    assert (own.origin, decorated.origin) == (Origin.SETTINGS, Origin.CODE)


async def test_a_schedule_may_have_the_name_of_its_handler() -> None:
    jobs = _app(**{"report.build": ScheduleSettings(cron="@daily")})

    assert jobs.timetable["report.build"].job().type == "report.build"


@pytest.mark.contract("F26")
@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (
            _daily(type="report.bild"),
            "Did you mean 'report.build'? - at `$.schedules.nightly.type`",
        ),
        (_daily(payload={"region": 3}), "must be str, got int (at $.region) - at"),
        (_daily(payload={"zone": "x"}), "at `$.schedules.nightly.payload`"),
    ],
)
async def test_what_fits_no_handler_is_refused_before_a_worker_begins(
    schedule: ScheduleSettings, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _app(nightly=schedule).worker()

    assert said in str(caught.value)
    assert str(caught.value).endswith("(treadle.toml)")


async def test_a_name_that_the_code_has_is_refused() -> None:
    jobs = _app(nightly=_daily())

    @jobs.every(60)
    async def nightly() -> None: ...

    with pytest.raises(ConfigurationError, match=r"give another one - at `\$\.schedules\.nightly`"):
        _ = jobs.timetable


async def test_an_application_that_only_enqueues_does_not_mind() -> None:
    async with _app(nightly=_daily(type="elsewhere")) as jobs:
        await jobs.handlers["report.build"].enqueue()


async def test_an_entry_that_the_settings_lost_is_an_orphan_as_one_of_the_code_is() -> None:
    root = MemoryBroker(parse("memory://"), SystemClock())

    async def broker() -> Broker:
        return root

    before, after = _app(nightly=_daily()), _app()
    await Schedules(broker).declare(before.timetable["nightly"])

    (kept,) = await Schedules(broker, lambda: before.timetable).list()
    (lost,) = await Schedules(broker, lambda: after.timetable).list()

    assert (kept.orphan, lost.orphan) == (False, True)
    assert lost.entry.origin is Origin.SETTINGS


async def test_so_many_schedules_of_the_code_are_refused_that_nobody_could_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("treadle.domain.timetable.MOST", 2)
    jobs = _app(third=_daily())
    refresh = jobs.handlers["report.build"]
    jobs.every(60, name="first")(refresh)
    jobs.every(60, name="second")(refresh)

    with pytest.raises(ConfigurationError, match="2 is the most"):
        jobs.every(60, name="more")(refresh)
    with pytest.raises(ConfigurationError, match="2 is the most"):
        _ = jobs.timetable
