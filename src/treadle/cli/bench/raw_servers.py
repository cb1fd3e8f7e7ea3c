"""The raw loops of stores behind a socket: their own Python clients, and nothing of Treadle.

The clients are those that the broker plugins depend on, so they are there whenever such a URL works.
"""

from __future__ import annotations

import importlib
import secrets
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio

from treadle.broker.url import BrokerUrl

BATCH = 100
_MANY = 1_000
_PAYLOAD = b"x" * 220
_RESULT = b'"done"'

_TURN = """
local base, time = KEYS[1], redis.call('TIME')
if #ARGV > 1 then
  local results = {}
  for i = 2, #ARGV, 2 do
    if redis.call('ZREM', base .. 'running', ARGV[i]) == 1 then
      results[#results + 1] = ARGV[i]
      results[#results + 1] = ARGV[i + 1]
    end
  end
  if #results > 0 then
    redis.call('HSET', base .. 'results', unpack(results))
  end
end
local ids = redis.call('LPOP', base .. 'waiting', ARGV[1])
if not ids then
  return {}
end
local leases = {}
for i = 1, #ids do
  leases[2 * i - 1], leases[2 * i] = time[1] + 15, ids[i]
end
redis.call('ZADD', base .. 'running', unpack(leases))
return { ids, redis.call('HMGET', base .. 'jobs', unpack(ids)) }
"""
"""Settles what still runs and claims under a lease, in one step. ARGV: how many to claim, then the
ids and results of what is settled."""


class RawRedis:
    """redis-py with a list, a set of leases, two hashes and one short script."""

    def __init__(self, url: BrokerUrl) -> None:
        self._url = url
        self._base = f"{{raw-{secrets.token_hex(6)}}}:"

    def enqueue(self, jobs: int) -> float:
        """Store a hundred jobs a transaction."""
        return self._fill_and_measure(jobs, BATCH)

    def enqueue_many(self, jobs: int) -> float:
        """Store a thousand jobs a transaction."""
        return self._fill_and_measure(jobs, _MANY)

    def drain(self, jobs: int) -> float:
        """Settle a hundred jobs and claim the next hundred, in one call."""
        with self._client() as client:
            self._fill(client, jobs, _MANY)
            turn = client.register_script(_TURN)
            done, settled = 0, list[object]()
            began = time.perf_counter()
            while claimed := turn(keys=[self._base], args=[BATCH, *settled]):
                ids, _ = claimed
                settled = [part for job in ids for part in (job, _RESULT)]
                done += len(ids)
            return done / (time.perf_counter() - began)

    def _fill_and_measure(self, jobs: int, size: int) -> float:
        with self._client() as client:
            began = time.perf_counter()
            self._fill(client, jobs, size)
            return jobs / (time.perf_counter() - began)

    def _fill(self, client: Any, jobs: int, size: int) -> None:
        for ids in _batches(jobs, size):
            pipe = client.pipeline(transaction=True)
            pipe.hset(f"{self._base}jobs", mapping=dict.fromkeys(ids, _PAYLOAD))
            pipe.rpush(f"{self._base}waiting", *ids)
            pipe.execute()

    @contextmanager
    def _client(self) -> Generator[Any]:
        url = self._url
        client: Any = importlib.import_module("redis").Redis(
            host=url.host or "localhost",
            port=url.port or 6379,
            db=int(url.path or 0),
            username=url.username or None,
            password=url.password or None,
        )
        try:
            yield client
        finally:
            names = ("jobs", "waiting", "running", "results")
            client.unlink(*(self._base + name for name in names))
            client.close()


class RawNats:
    """nats-py with two streams: jobs that are acknowledged, and results."""

    def __init__(self, url: BrokerUrl) -> None:
        host = url.host or "localhost"
        self._server = f"{url.scheme}://{host}:{url.port or 4222}"
        self._login = {"user": url.username, "password": url.password} if url.username else {}
        self._name = f"raw-{secrets.token_hex(6)}"

    def enqueue(self, jobs: int) -> float:
        """Publish jobs, a hundred unconfirmed at once."""
        return self._measured(lambda stream: self._fill(stream, jobs, BATCH))

    def enqueue_many(self, jobs: int) -> float:
        """Publish jobs, a thousand unconfirmed at once."""
        return self._measured(lambda stream: self._fill(stream, jobs, _MANY))

    def drain(self, jobs: int) -> float:
        """Fetch a hundred jobs, publish their results, then acknowledge them."""

        async def work(stream: Any) -> float:
            await self._fill(stream, jobs, _MANY)
            return await self._drain(stream, jobs)

        return self._measured(work)

    async def _fill(self, stream: Any, jobs: int, size: int) -> float:
        began = time.perf_counter()
        for ids in _batches(jobs, size):
            for job in ids:
                await stream.publish_async(f"{self._name}.jobs.{job}", _PAYLOAD)
            await stream.publish_async_completed()
        return jobs / (time.perf_counter() - began)

    async def _drain(self, stream: Any, jobs: int) -> float:
        subject = f"{self._name}.jobs.*"
        pull = await stream.pull_subscribe(subject, durable="raw", stream=f"{self._name}-jobs")
        done = 0
        began = time.perf_counter()
        while done < jobs:
            messages = await pull.fetch(min(BATCH, jobs - done))
            for message in messages:
                job = message.subject.rpartition(".")[2]
                await stream.publish_async(f"{self._name}.results.{job}", _RESULT)
            await stream.publish_async_completed()
            for message in messages:
                await message.ack()
            done += len(messages)
        await pull.unsubscribe()
        return done / (time.perf_counter() - began)

    def _measured(self, work: Callable[[Any], Coroutine[Any, Any, float]]) -> float:
        # The event loop of the caller is running: nats-py gets one of its own in another thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(anyio.run, self._connected, work).result()

    async def _connected(self, work: Callable[[Any], Coroutine[Any, Any, float]]) -> float:
        client = await importlib.import_module("nats").connect(self._server, **self._login)
        stream = client.jetstream()
        try:
            for part in ("jobs", "results"):
                name = f"{self._name}-{part}"
                await stream.add_stream(name=name, subjects=[f"{self._name}.{part}.*"])
            return await work(stream)
        finally:
            for part in ("jobs", "results"):
                await stream.delete_stream(f"{self._name}-{part}")
            await client.close()


def _batches(jobs: int, size: int) -> Iterator[list[str]]:
    for start in range(0, jobs, size):
        yield [f"{number:032x}" for number in range(start, min(start + size, jobs))]
