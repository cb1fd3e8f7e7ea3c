"""A whole application, tested with `jobs_test`: retries, delays, crashes, and not one sleep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct

from tests.testing.sample_app.jobs import (
    Shop,
    build_report,
    charge,
    check,
    jobs,
    remind,
    send_mail,
    ship,
    shop,
)
from treadle import ConfigurationError, JobCancelled, JobDead, Jobs
from treadle.domain.job import Job as DomainJob
from treadle.testing import JobsTest


@pytest.fixture
def jobs_test(jobs_test: JobsTest) -> JobsTest:
    vars(shop).update(vars(Shop()))
    return jobs_test.use(jobs)


@pytest.mark.contract("F33")
@pytest.mark.anyio
async def test_a_job_runs_when_it_is_drained_and_not_before(jobs_test: JobsTest) -> None:
    job = await send_mail.enqueue("ada@example.com")
    assert shop.mails == []

    report = await jobs_test.drain()

    assert report.succeeded == 1
    assert await job.result(timeout=1) == "sent 'Welcome!' to ada@example.com"
    assert shop.attempts == ["mail.send"]


@pytest.mark.anyio
async def test_a_delayed_job_waits_for_its_time(jobs_test: JobsTest) -> None:
    await send_mail.options(delay=3600).enqueue("ada@example.com")

    await jobs_test.advance(minutes=59)
    assert shop.mails == []
    await jobs_test.advance(minutes=1)

    assert shop.mails == ["ada@example.com"]


@pytest.mark.contract("F33")
@pytest.mark.anyio
async def test_a_failure_is_retried_after_its_delay(jobs_test: JobsTest) -> None:
    jobs_test.fail_next(send_mail, ConnectionError("no route"), times=2)
    job = await send_mail.enqueue("ada@example.com")

    await jobs_test.drain()
    assert (await job.refresh()).state == "retrying"
    await jobs_test.advance(minutes=2)

    assert (await job.refresh()).state == "succeeded"
    assert job.attempt == 3


@pytest.mark.anyio
async def test_a_job_that_fails_too_often_is_dead(jobs_test: JobsTest) -> None:
    jobs_test.fail_next(send_mail, ConnectionError("no route"), times=3)
    job = await send_mail.enqueue("ada@example.com")

    await jobs_test.advance(hours=1)

    with pytest.raises(JobDead, match="no route"):
        await job.result(timeout=1)
    assert shop.mails == []


@pytest.mark.anyio
async def test_what_was_enqueued_can_be_read(jobs_test: JobsTest) -> None:
    await send_mail.options(delay=60, priority="high").enqueue("ada@example.com")
    await charge.enqueue("17", 499)

    (mail,) = jobs_test.enqueued(send_mail)

    assert mail.arguments == {"to": "ada@example.com"}
    assert (mail.queue, mail.delay, mail.priority.name) == ("mail", timedelta(minutes=1), "HIGH")
    assert [each.type for each in jobs_test.enqueued()] == ["mail.send", "order.charge"]


@pytest.mark.anyio
async def test_what_was_enqueued_can_be_compared_with_a_call(jobs_test: JobsTest) -> None:
    await send_mail.enqueue("ada@example.com")

    (mail,) = jobs_test.enqueued(send_mail)

    assert mail.matches("ada@example.com")
    assert mail.matches(to="ada@example.com", subject="Welcome!")
    assert not mail.matches("eve@example.com")


class Person(Struct):
    """An argument that is more than JSON knows."""

    name: str


@pytest.mark.anyio
async def test_arguments_have_the_types_that_their_handler_declares() -> None:
    jobs = Jobs("memory://")

    @jobs.handler
    async def greet(who: Person, on: datetime, times: int = 1) -> str:
        return f"{who.name} {on} {times}"

    with JobsTest() as jobs_test:
        jobs_test.use(jobs)
        await greet.enqueue(Person("ada"), datetime(2030, 1, 1, tzinfo=UTC))

        for (greeting,) in (jobs_test.enqueued(greet), jobs_test.enqueued("greet")):
            assert greeting.arguments == {
                "who": Person("ada"),
                "on": datetime(2030, 1, 1, tzinfo=UTC),
            }


@pytest.mark.anyio
async def test_arguments_of_a_handler_that_nobody_knows_are_json(jobs_test: JobsTest) -> None:
    there = DomainJob(id="j1", type="elsewhere.mail", payload=b'{"on": "2030-01-01T00:00:00Z"}')
    await jobs.client.enqueue([there])

    (job,) = jobs_test.enqueued()

    assert job.arguments == {"on": "2030-01-01T00:00:00Z"}
    with pytest.raises(ConfigurationError, match=r"no handler 'elsewhere\.mail'"):
        job.matches("anything")


@pytest.mark.anyio
async def test_a_handler_that_enqueues_is_followed(jobs_test: JobsTest) -> None:
    await ship.enqueue("17")

    await jobs_test.drain()

    assert shop.mails == ["customer of 17"]


@pytest.mark.anyio
async def test_a_snoozed_job_comes_back(jobs_test: JobsTest) -> None:
    shop.open = False
    job = await ship.enqueue("17")
    await jobs_test.drain()
    shop.open = True

    await jobs_test.advance(hours=1)

    assert (await job.refresh()).state == "succeeded"
    assert shop.mails == ["customer of 17"]


@pytest.mark.anyio
async def test_a_unique_job_is_stored_once(jobs_test: JobsTest) -> None:
    first = await charge.enqueue("17", 499)
    second = await charge.enqueue("17", 499)

    await jobs_test.drain()

    assert first == second
    assert list(shop.charges.values()) == [499]


@pytest.mark.anyio
async def test_a_cancelled_job_does_not_run(jobs_test: JobsTest) -> None:
    job = await send_mail.options(delay=60).enqueue("ada@example.com")

    await job.cancel()
    await jobs_test.advance(hours=1)

    assert shop.mails == []
    with pytest.raises(JobCancelled):
        await job.result(timeout=1)


@pytest.mark.anyio
async def test_a_crash_runs_the_handler_again_and_uses_up_no_attempt(jobs_test: JobsTest) -> None:
    job = await remind.enqueue("ada")

    assert await jobs_test.crash_worker() == 1
    assert (await job.refresh()).state == "running"
    await jobs_test.drain()

    assert await job.result(timeout=1) == 1
    assert shop.mails == ["reminder ada", "reminder ada"]


@pytest.mark.anyio
async def test_a_charge_survives_a_crash_without_being_made_twice(jobs_test: JobsTest) -> None:
    await charge.enqueue("17", 499)

    await jobs_test.crash_worker()
    await jobs_test.drain()

    assert list(shop.charges.values()) == [499]


@pytest.mark.anyio
async def test_the_third_crash_puts_a_job_among_the_dead_letters(jobs_test: JobsTest) -> None:
    job = await remind.enqueue("ada")

    for _ in range(3):
        await jobs_test.crash_worker()
    await jobs_test.drain()

    with pytest.raises(JobDead) as raised:
        await job.result(timeout=1)
    assert raised.value.reason == "quarantined"


def test_a_test_without_a_loop_uses_the_sync_twins(jobs_test: JobsTest) -> None:
    bad = check.enqueue_sync("seventeen")
    report = build_report.options(delay=60).enqueue_sync(3)

    jobs_test.drain_sync()
    jobs_test.advance_sync(minutes=1)

    with pytest.raises(JobDead, match="is no order"):
        bad.result_sync(timeout=1)
    assert report.result_sync(timeout=1) == {"day": 3, "mails": 0}


def test_a_crash_can_be_had_without_a_loop_too(jobs_test: JobsTest) -> None:
    job = remind.enqueue_sync("ada")

    jobs_test.crash_worker_sync()
    jobs_test.drain_sync()

    assert job.result_sync(timeout=1) == 1


def test_without_an_application_it_says_what_to_do() -> None:
    with JobsTest() as alone, pytest.raises(ConfigurationError, match=r"jobs_test\.use\(jobs\)"):
        alone.drain_sync()


def test_the_application_gets_its_own_broker_back() -> None:
    before = jobs.client

    with JobsTest() as it:
        it.use(jobs)
        assert jobs.client is not before

    assert jobs.client is before


@pytest.mark.anyio
async def test_ticks_of_schedules_fire_at_their_own_instants_while_the_clock_moves() -> None:
    jobs = Jobs("memory://")
    ran: list[tuple[str, datetime]] = []

    @jobs.cron("0 * * * *")
    async def hourly() -> None:
        ran.append(("hourly", it.now))

    @jobs.every(1_500)
    async def often() -> None:
        ran.append(("often", it.now))

    with JobsTest() as it:
        it.use(jobs)
        begun = it.now

        await it.advance(minutes=24)
        assert ran == []
        await it.advance(minutes=36)

        assert ran == [
            ("often", begun + timedelta(minutes=25)),
            ("often", begun + timedelta(minutes=50)),
            ("hourly", begun + timedelta(hours=1)),
        ]
        assert [job.id[:11] for job in it.enqueued(hourly)] == ["cron:hourly"]


@pytest.mark.anyio
async def test_a_job_that_pauses_a_schedule_is_obeyed_on_the_way() -> None:
    jobs = Jobs("memory://")
    ran: list[str] = []

    @jobs.every(3_600)
    async def refresh() -> None:
        ran.append("refresh")

    @jobs.handler
    async def stop() -> None:
        await jobs.schedules.pause("refresh")

    with JobsTest() as jobs_test:
        jobs_test.use(jobs)
        await stop.options(delay=4_000).enqueue()

        await jobs_test.advance(hours=5)

        assert ran == ["refresh"]


def test_ticks_fire_in_tests_without_a_loop_too() -> None:
    jobs = Jobs("memory://")
    ran: list[str] = []

    @jobs.every(60)
    def refresh() -> None:
        ran.append("refresh")

    with JobsTest() as jobs_test:
        jobs_test.use(jobs)

        report = jobs_test.advance_sync(hours=1)

        assert len(ran) == report.succeeded == 60
