"""`qrun cron` and `qrun scheduler`: what people see of schedules, and what they do to them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from datetime import datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.cli.conftest import APP, Qrun

CRON_APP = '''
"""An app with schedules."""

from treadle import Jobs

jobs = Jobs()


@jobs.cron("30 2 * * *", tz="America/New_York", queue="reports")
def nightly_report() -> None:
    """Report."""


@jobs.every(1, payload={"to": "ada"})
def tick(to: str) -> None:
    """Tick."""
'''

EXPLAINED = """\
At 02:30 every day, America/New_York
Fixed time: once for each local time. One that the clock skips runs right after the gap, one that \
comes twice runs the first time.

Next:
  Sat 2027-03-13 02:30:00 EST    2027-03-13T07:30:00Z
  Sun 2027-03-14 03:00:00 EDT    2027-03-14T07:00:00Z  the clock is moved forward to this time
  Mon 2027-03-15 02:30:00 EDT    2027-03-15T06:30:00Z

When clocks are moved:
  Sun 2027-03-14 03:00:00 EDT    2027-03-14T07:00:00Z  the clock is moved forward to this time
"""


@pytest.fixture
def with_schedules(qrun: Qrun) -> Qrun:
    qrun.write("jobs.py", CRON_APP)
    return qrun


@pytest.mark.contract("F26")
def test_an_expression_is_explained_with_what_moved_clocks_do_to_it(qrun: Qrun) -> None:
    zone = ("--tz", "America/New_York", "--count", "3", "--after", "2027-03-13T00:00Z")

    ran = qrun("cron", "explain", "30 2 * * *", *zone)

    assert ran.code == 0, ran.err
    assert ran.out == EXPLAINED


def test_an_interval_is_explained_with_the_hour_that_comes_twice(qrun: Qrun) -> None:
    arguments = ("0 * * * *", "--tz", "Europe/Berlin", "--after", "2026-07-01", "--json")

    (answer,) = qrun("cron", "explain", *arguments).objects

    assert answer["text"] == "At the start of every hour"
    assert answer["rule"].startswith("Interval:")
    assert [(tick["local"], tick["note"]) for tick in answer["moved"][:2]] == [
        ("Sun 2026-10-25 02:00:00 CEST", "the first of two such times"),
        ("Sun 2026-10-25 02:00:00 CET", "the second of two such times"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("0 0 31 2 *",), "never fires"),
        (("* * * * *", "--tz", "Mars/Phobos"), "time zone 'Mars/Phobos' is unknown"),
        (("often",), "five fields"),
        (("* * * * *", "--after", "soon"), "is no instant"),
    ],
)
def test_what_cannot_be_explained_ends_with_2_and_says_why(
    qrun: Qrun, arguments: tuple[str, ...], said: str
) -> None:
    ran = qrun("cron", "explain", *arguments)

    assert ran.code == 2
    assert said in ran.err


def test_schedules_of_the_code_are_listed_before_any_scheduler_ran(with_schedules: Qrun) -> None:
    ran = with_schedules("cron", "list", "--json")

    nightly, tick = ran.objects
    assert (nightly["name"], nightly["state"], nightly["tz"]) == (
        "nightly_report",
        "new",
        "America/New_York",
    )
    assert (nightly["queue"], nightly["catch_up"]) == ("reports", "all")
    assert (tick["schedule"], tick["tz"]) == ("every 1 s", None)
    assert datetime.fromisoformat(nightly["next"]).minute == 30


def test_an_empty_timetable_says_how_to_begin(with_app: Qrun) -> None:
    ran = with_app("cron", "list")

    assert (ran.code, ran.out) == (0, "")
    assert "@jobs.cron" in ran.err


def test_a_paused_schedule_is_listed_with_who_paused_it_and_resumed(with_schedules: Qrun) -> None:
    assert with_schedules("cron", "pause", "tick").code == 0
    (paused,) = [row for row in with_schedules("cron", "list", "--json").objects if row["by"]]
    silent = with_schedules("cron", "next", "tick")

    assert with_schedules("cron", "resume", "tick").code == 0
    (_, resumed) = with_schedules("cron", "list", "--json").objects

    assert (paused["name"], paused["state"], paused["next"]) == ("tick", "paused", None)
    assert paused["by"].startswith("qrun:")
    assert "tick is paused" in silent.err
    assert (resumed["state"], resumed["by"]) == ("active", None)


def test_next_shows_the_ticks_of_one_schedule(with_schedules: Qrun) -> None:
    arguments = ("nightly_report", "--count", "1", "--after", "2027-03-14T00:00-05:00")

    ran = with_schedules("cron", "next", *arguments)

    assert ran.out.splitlines()[1].split() == [
        *("nightly_report", "Sun", "2027-03-14", "03:00:00", "EDT", "2027-03-14T07:00:00Z"),
        *("the", "clock", "is", "moved", "forward", "to", "this", "time"),
    ]


def test_a_schedule_is_run_by_hand_beside_its_ticks(with_schedules: Qrun) -> None:
    ran = with_schedules("cron", "run", "tick")

    (job,) = with_schedules("jobs", "show", ran.out.strip(), "--json").objects
    assert (job["type"], job["payload"], job["state"]) == ("tick", {"to": "ada"}, "queued")


@pytest.mark.parametrize("action", ["run", "pause", "resume", "remove", "next"])
def test_an_unknown_name_is_answered_with_those_there_are(
    with_schedules: Qrun, action: str
) -> None:
    ran = with_schedules("cron", action, "nightly")

    assert ran.code == 2
    assert "There are: nightly_report, tick" in ran.err


def test_a_schedule_that_the_code_lost_is_an_orphan_until_it_is_removed(
    with_schedules: Qrun,
) -> None:
    with_schedules("cron", "pause", "tick")
    with_schedules("cron", "resume", "tick")
    with_schedules.write("jobs.py", APP)

    (orphan,) = with_schedules("cron", "list", "--json").objects
    removed = with_schedules("cron", "remove", "tick")

    assert (orphan["state"], orphan["next"]) == ("orphan", None)
    assert removed.code == 0
    assert with_schedules("cron", "list", "--json").objects == []


@pytest.mark.contract("F26")
def test_a_scheduler_of_its_own_enqueues_and_ends_cleanly(with_schedules: Qrun) -> None:
    scheduler = with_schedules.start("scheduler", "--log-format", "json")
    assert scheduler.stderr is not None
    try:
        for line in scheduler.stderr:
            if '"cron_fired"' in line:
                break
        scheduler.send_signal(signal.SIGTERM)
        out, _ = scheduler.communicate(timeout=300)
    finally:
        scheduler.kill()
        scheduler.wait()

    assert scheduler.returncode == 0
    assert "schedules 2: nightly_report, tick" in out
    states = with_schedules.states()
    assert states
    assert all(id.startswith("cron:tick:") for id in states)
    assert set(states.values()) == {"queued"}


TOML = """
[schedules.from-settings]
every = "1s"
type = "tick"
payload = { to = "eve" }
queue = "of-settings"
"""


@pytest.mark.timeout(300)
@pytest.mark.contract("F17", "F26")
def test_a_schedule_of_the_settings_is_fired_until_it_is_removed_there(
    with_schedules: Qrun,
) -> None:
    file = with_schedules.write("treadle.toml", TOML)
    scheduler = with_schedules.start("scheduler", "--log-format", "json")
    assert scheduler.stderr is not None
    try:
        lines = (json.loads(line) for line in scheduler.stderr if '"cron_fired"' in line)
        said = next(line for line in lines if line["schedule"] == "from-settings")
    finally:
        scheduler.kill()
        scheduler.communicate()
    listed = with_schedules("cron", "list", "--json").objects
    fired = with_schedules("jobs", "list", "--queue", "of-settings", "--json").objects
    file.unlink()
    after = with_schedules("cron", "list", "--json").objects

    (kept,) = [row for row in listed if row["name"] == "from-settings"]
    (lost,) = [row for row in after if row["name"] == "from-settings"]
    assert (kept["state"], kept["origin"], lost["state"]) == ("active", "settings", "orphan")
    assert said["job_id"] in [job["id"] for job in fired]
    assert (said["type"], said["queue"], said["status"]) == ("tick", "of-settings", "queued")
    assert all(job["id"].startswith("cron:from-settings:") for job in fired)


def test_a_schedule_of_the_settings_that_fits_no_handler_ends_with_2(with_schedules: Qrun) -> None:
    with_schedules.write("treadle.toml", TOML.replace('"tick"', '"tock"'))

    for command in (["scheduler"], ["scheduler", "--quiet"], ["worker", "--burst"]):
        ran = with_schedules(*command)

        assert ran.code == 2
        assert "Did you mean 'tick'? - at `$.schedules.from-settings.type`" in ran.err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.promise(11)
def test_schedulers_on_one_file_fire_each_tick_once_though_one_is_killed(
    with_schedules: Qrun,
) -> None:
    with_schedules.write("jobs.py", CRON_APP.replace("every(1,", "every(1, look_back=3_600,"))
    schedulers = [with_schedules.start("scheduler", "--log-format", "json") for _ in range(3)]
    fired: SimpleQueue[str] = SimpleQueue()
    listeners = [threading.Thread(target=_tell, args=(each, fired)) for each in schedulers]
    try:
        for listener in listeners:
            listener.start()
        said = [fired.get(timeout=240) for _ in range(2)]
        schedulers[0].kill()
        said += [fired.get(timeout=240) for _ in range(3)]
    finally:
        for scheduler in schedulers:
            scheduler.kill()
        for listener in listeners:
            listener.join()
        for scheduler in schedulers:
            scheduler.communicate()

    stored = sorted(with_schedules.states())
    times = [datetime.fromisoformat(id.removeprefix("cron:tick:")) for id in stored]
    assert len(set(said)) == len(said)
    assert set(said) <= set(stored)
    assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]


def _tell(scheduler: subprocess.Popen[str], fired: SimpleQueue[str]) -> None:
    """Tell the id of each job that a scheduler stored, until it ends."""
    assert scheduler.stderr is not None
    for line in scheduler.stderr:
        if '"cron_fired"' in line:
            fired.put(json.loads(line)["job_id"])


def test_a_scheduler_without_a_broker_ends_with_4(with_schedules: Qrun, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    ran = with_schedules("scheduler", "--url", f"sqlite:///{file}/jobs.db")

    assert ran.code == 4
