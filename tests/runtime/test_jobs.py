"""`Jobs`: lazy, put together from argument and settings, and the whole path from enqueue to result."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from treadle import Handlers, JobDead, Jobs, Outcome
from treadle.broker.memory import MemoryBroker
from treadle.domain.selection import Ordered
from treadle.errors import BrokerMissing, ConfigurationError, PayloadError, PluginError, TooLarge
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.handle import Job
from treadle.settings import JobSettings, Settings, WorkerSettings


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio in real time: workers here have their heartbeat thread."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _memory(**over: object) -> Jobs:
    return Jobs("memory://", settings=Settings(**over))  # type: ignore[arg-type]


def test_making_one_reads_no_settings_and_touches_no_file(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_text("colour = 'blue'")

    jobs = Jobs()
    handler = jobs.handler("add")(_add)

    assert list(jobs.handlers) == ["add"]
    assert handler(1) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["treadle.toml"]
    with pytest.raises(ConfigurationError, match="unknown field `colour`"):
        _ = jobs.url


def _add(a: int, b: int = 1) -> int:
    return a + b


def test_making_one_imports_no_broker_and_starts_no_thread() -> None:
    program = (
        "import sys, threading\nfrom treadle import Jobs\njobs = Jobs('sqlite:///jobs.db')\n"
        "@jobs.handler\ndef add(a: int) -> int: return a\n"
        "print(threading.active_count(), {'sqlite3', 'treadle.broker.sqlite'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == "1 set()\n"


@pytest.mark.contract("F09")
def test_the_url_is_the_argument_else_the_setting_else_a_file_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert str(Jobs().url) == "sqlite:///.treadle/jobs.db"

    monkeypatch.setenv("QRUN_URL", "sqlite:///other.db")

    assert str(Jobs().url) == "sqlite:///other.db"
    assert str(Jobs("memory://").url) == "memory://"


def test_a_flag_of_the_command_wins_over_the_argument() -> None:
    jobs = Jobs("memory://")

    jobs.use_settings(Settings(url="sqlite:///flag.db", origins={"url": "flag"}))

    assert str(jobs.url) == "sqlite:///flag.db"


def test_settings_come_too_late_once_a_broker_was_made() -> None:
    jobs = _memory()
    jobs.broker()

    with pytest.raises(ConfigurationError, match="before the first use"):
        jobs.use_settings(Settings())


def test_brokers_of_one_application_share_its_store() -> None:
    jobs = _memory()

    first, second = jobs.broker(), jobs.broker()

    assert isinstance(first, MemoryBroker)
    assert first is not second


def test_a_missing_broker_is_told_when_it_is_first_needed() -> None:
    jobs = Jobs("redis://localhost")

    with pytest.raises(BrokerMissing, match="pip install treadle-redis"):
        jobs.broker()


@pytest.mark.contract("F02", "F29")
def test_settings_give_the_defaults_of_handlers_that_do_not_say_otherwise() -> None:
    jobs = _memory(job=JobSettings(timeout=timedelta(minutes=5), retries=9))
    plain = jobs.handler("plain")(_add)
    own = jobs.handler("own", retry=1, timeout=2)(_add)

    assert (plain.policy.timeout_ms, plain.policy.max_attempts) == (300_000, 10)
    assert (own.policy.timeout_ms, own.policy.max_attempts) == (2_000, 2)


def test_the_payload_limit_is_that_of_the_settings() -> None:
    jobs = _memory(payload_limit=100)

    @jobs.handler
    def send(text: str) -> None: ...

    with pytest.raises(TooLarge):
        send.enqueue_sync("x" * 100)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"concurrency": 0}, "'concurrency' must be int >= 1"),
        ({"concurrency": 10_001}, "'concurrency' must be int <= 10000"),
        ({"concurrency": "5"}, "'concurrency' must be int, got str"),
        ({"queues": "default"}, "'queues' must be array, got str"),
        ({"queues": []}, "'queues' must be array of length >= 1"),
        ({"queues": ["no such*"]}, r"'queues\[0\]' must be str matching"),
        ({"name": "a b"}, "'name' must be str matching"),
        ({"grace": -1}, "grace must be between"),
    ],
)
def test_what_a_worker_cannot_be_made_of_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        _memory().worker(**given)


def test_a_middleware_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a middleware is an async function"):
        _memory().use(cast("Any", "logging"))


@pytest.mark.contract("F01")
def test_a_worker_is_made_from_the_settings_and_what_is_given_wins() -> None:
    jobs = _memory(worker=WorkerSettings(concurrency=7, queues=("a", "b"), name="w"))

    from_settings = jobs.worker().options
    given = jobs.worker(concurrency=2, queues=["c"], grace=1, burst=True, app="m:jobs").options

    assert (from_settings.concurrency, from_settings.name) == (7, "w")
    assert from_settings.selection == Ordered(("a", "b"))
    assert (from_settings.grace_ms, from_settings.lease_ms) == (25_000, 15_000)
    assert (given.concurrency, given.grace_ms, given.burst, given.app) == (2, 1_000, True, "m:jobs")
    assert given.selection == Ordered(("c",))


@pytest.mark.anyio
async def test_a_job_goes_all_the_way_and_back() -> None:
    jobs = _memory()

    @jobs.handler("add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @jobs.handler("fail", retry=0)
    def fail(why: str) -> None:
        raise ValueError(why)

    async with jobs, anyio.create_task_group() as tasks:
        worker = jobs.worker(name="w")
        tasks.start_soon(worker.run)
        three = await add.enqueue(2)
        dead = await fail.enqueue("no")

        assert await three.result(timeout=10) == 3
        with pytest.raises(JobDead, match="exhausted") as caught:
            await dead.result(timeout=10)
        assert "raise ValueError(why)" in caught.value.remote_traceback
        again: Job[int] = await jobs.get(three.id)
        assert await again.result(timeout=10) == 3
        worker.drain()


def test_a_job_goes_all_the_way_and_back_without_a_loop() -> None:
    jobs = _memory()

    @jobs.handler("add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    many = add.enqueue_many_sync([{"a": n} for n in range(5)])
    anyio.run(jobs.worker(name="w", burst=True).run)

    assert [job.result_sync(timeout=10) for job in many] == [1, 2, 3, 4, 5]
    assert jobs.get_sync(many[0].id).result_sync() == 1
    jobs.close_sync()


@pytest.mark.anyio
async def test_arguments_that_do_not_fit_are_refused_and_nothing_is_enqueued() -> None:
    jobs = _memory()

    @jobs.handler("add")
    async def add(a: int) -> int:
        return a

    async with jobs:
        with pytest.raises(PayloadError, match="'a' must be int, got str"):
            await add.enqueue("one")  # type: ignore[arg-type]

        assert (await jobs.client.stats()).queues == ()


@pytest.mark.anyio
async def test_the_lifespan_of_a_web_application_connects_and_disconnects() -> None:
    jobs = _memory()
    handlers = Handlers()

    @handlers.handler("add")
    async def add(a: int) -> int:
        return a

    jobs.include(handlers)

    async with jobs.lifespan(object()):
        assert (await add.enqueue(1)).type == "add"


@pytest.mark.contract("F28")
@pytest.mark.anyio
async def test_middleware_runs_in_the_order_in_which_it_was_registered() -> None:
    jobs = _memory()
    seen: list[str] = []

    for name in ("outer", "inner"):

        async def note(attempt: Attempt, call_next: Next, name: str = name) -> Outcome:
            seen.append(f"{name} begins")
            outcome = await call_next(attempt)
            seen.append(f"{name} ends")
            return outcome

        jobs.use(note)

    @jobs.handler("add")
    async def add(a: int) -> int:
        seen.append("handler")
        return a

    async with jobs:
        await add.enqueue(1)
        await jobs.worker(name="w", burst=True).run()

    assert seen == ["outer begins", "inner begins", "handler", "inner ends", "outer ends"]


def test_plugins_are_loaded_once_before_work_begins() -> None:
    jobs = _memory(plugins=("nobody",))

    with pytest.raises(PluginError, match="plugin 'nobody' is allowed"):
        jobs.worker()
