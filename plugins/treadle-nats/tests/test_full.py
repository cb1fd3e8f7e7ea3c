"""A stream that is full refuses new jobs, lets those it has end, and takes jobs again after a cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from treadle_nats import NatsBroker

from treadle.broker.url import parse
from treadle.broker.values import Applied
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Policy
from treadle.domain.outcome import RefusalCode, Refused, Succeeded
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


@pytest.mark.promise(13)
async def test_a_full_stream_takes_no_job_but_lets_those_it_has_end(
    server: Any, namespace: str
) -> None:
    # The log cannot be cut here before it is full.
    url = f"{server.url}?namespace={namespace}&max_bytes=1048576&log_bytes=100000000"
    async with _broker(url) as broker:
        hand = await Hand.open(broker)
        refused: Refused | None = None
        count = 0
        while refused is None:
            (answer,) = (await broker.enqueue([_big(count)])).results
            refused = answer if isinstance(answer, Refused) else None
            count += isinstance(answer, Applied)
        record = await hand.claim_one("default")
        await hand.end(record, Succeeded())
        (queue,) = (await broker.stats()).queues

    assert refused.code is RefusalCode.STORAGE_FULL
    assert (queue.waiting, queue.succeeded) == (count - 1, 1)


@pytest.mark.promise(13)
async def test_a_full_stream_is_cut_and_takes_jobs_again(server: Any, namespace: str) -> None:
    url = f"{server.url}?namespace={namespace}&max_bytes=1048576&log_bytes=65536"
    async with _broker(url) as broker:
        hand = await Hand.open(broker)
        ended = 0
        with anyio.fail_after(240):
            while ended < 150:  # several times of what the stream holds
                (answer,) = (await broker.enqueue([_big(ended)])).results
                if isinstance(answer, Refused):
                    await broker.purge(1_000)
                    await anyio.sleep(0.02)
                    continue
                await hand.end(await hand.claim_one("default"), Succeeded())
                ended += 1

    assert ended == 150


async def test_who_reads_a_stream_that_is_half_full_takes_it_for_no_more(
    server: Any, namespace: str
) -> None:
    url = f"{server.url}?namespace={namespace}&max_bytes=1048576&log_bytes=100000000"
    async with _broker(url) as broker:
        for number in range(30):
            await stored(broker, _big(number))

    async with _broker(url) as broker:
        (answer,) = (await broker.enqueue([_big(30)])).results

    assert isinstance(answer, Applied)


@pytest.mark.promise(13)
async def test_a_server_without_room_takes_no_job_and_says_so(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    limits = {"store_dir": str(tmp_path / "store"), "max_file_store": 1_048_576}
    url = f"{make_server(jetstream=limits).url}?log_bytes=100000000"
    async with _broker(url) as broker:
        refused: Refused | None = None
        count = 0
        while refused is None:
            (answer,) = (await broker.enqueue([_big(count)])).results
            refused = answer if isinstance(answer, Refused) else None
            count += isinstance(answer, Applied)
        (queue,) = (await broker.stats()).queues

    assert refused.code is RefusalCode.STORAGE_FULL
    assert queue.waiting == count


def _big(number: int) -> Any:
    payload = b'{"x":"' + b"x" * 20_000 + b'"}'
    policy = Policy(retention_ms=0, remember_ms=0)
    return make_job(f"big-{number}", payload=payload, policy=policy)
