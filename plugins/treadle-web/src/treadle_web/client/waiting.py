"""The client for programs with an event loop: the same as the other one, awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx

from treadle_web.client import calls
from treadle_web.client.answers import (
    Created,
    DeadJob,
    Done,
    Gap,
    Group,
    Item,
    Job,
    JobDetails,
    JobEvent,
    Queue,
)
from treadle_web.client.blocking import ALL
from treadle_web.client.calls import Call, Filter, New
from treadle_web.client.failures import ApiError, failure, unreachable
from treadle_web.client.resuming import PATH, SILENT_S, Stream

T = TypeVar("T")


class AsyncClient:
    """Speaks to one server; every refusal is an `ApiError`. Close it, or use it with `async with`."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = 60.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Use the server at `url`, with the prefix under which it is mounted; `http` has what it says."""
        self._http = http or httpx.AsyncClient(timeout=timeout_s)
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def enqueue(self, new: New, *, idempotency_key: str = "") -> Created:
        """Enqueue a job; with a key, asking again stores nothing and tells the first answer."""
        return await self._ask(calls.enqueue(new, idempotency_key))

    async def enqueue_many(
        self, jobs: Sequence[New], *, idempotency_key: str = ""
    ) -> tuple[Item, ...]:
        """Enqueue up to 1,000 jobs; each item says what became of the job at its place."""
        return (await self._ask(calls.enqueue_many(jobs, idempotency_key))).items

    async def get(self, id: str, *, queue: str = "") -> JobDetails:
        """Read a job; without a queue every queue is asked."""
        return await self._ask(calls.get(id, queue))

    async def cancel(self, id: str, *, queue: str = "", seen: str = "") -> JobDetails:
        """Cancel a job; with the fence that was `seen`, only if it has not changed since."""
        return await self._ask(calls.cancel(id, queue, seen))

    async def retry(self, id: str, *, queue: str = "", seen: str = "") -> JobDetails:
        """Start a new run of a final job."""
        return await self._ask(calls.retry(id, queue, seen))

    async def delete(self, id: str, *, queue: str = "", seen: str = "") -> None:
        """Remove the record of a final job."""
        await self._ask(calls.delete(id, queue, seen))

    async def jobs(self, chosen: Filter = ALL) -> AsyncGenerator[Job]:
        """Iterate over all jobs that match; pages are read as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._ask(calls.page(chosen, cursor))
            for one in page.items:
                yield one
            cursor = page.cursor
            if cursor is None:
                return

    async def dead(self, chosen: Filter = ALL) -> AsyncGenerator[DeadJob]:
        """Iterate over dead letters; of the filter only queue, type, reason, error and order count."""
        cursor: str | None = None
        while True:
            page = await self._ask(calls.dead_page(chosen, cursor))
            for one in page.items:
                yield one
            cursor = page.cursor
            if cursor is None:
                return

    async def dead_groups(self, chosen: Filter = ALL) -> tuple[Group, ...]:
        """Return the newest dead letters in groups of those that died of the same."""
        return (await self._ask(calls.dead_groups(chosen))).items

    async def retry_group(self, fingerprint: str, *, dry_run: bool = False) -> int:
        """Run again all dead letters of a group; return how many."""
        return sum([one.done async for one in self._on_group("retry", fingerprint, dry_run)])

    async def discard_group(self, fingerprint: str, *, dry_run: bool = False) -> int:
        """Remove all dead letters of a group; return how many."""
        return sum([one.done async for one in self._on_group("discard", fingerprint, dry_run)])

    async def _on_group(self, action: str, mark: str, dry_run: bool) -> AsyncGenerator[Done]:
        cursor: str | None = None
        while True:
            done = await self._ask(calls.on_group(action, mark, dry_run=dry_run, cursor=cursor))
            yield done
            cursor = done.cursor
            if cursor is None:
                return

    async def queues(self) -> tuple[Queue, ...]:
        """Return the counts of every queue."""
        return (await self._ask(calls.queues())).items

    async def queue(self, name: str) -> Queue:
        """Return the counts of one queue."""
        return await self._ask(calls.queue(name))

    async def pause(self, name: str) -> Queue:
        """Stop claims of a queue; running jobs go on."""
        return await self._ask(calls.queue(name, "pause"))

    async def resume(self, name: str) -> Queue:
        """Let workers claim from a queue again."""
        return await self._ask(calls.queue(name, "resume"))

    async def events(
        self,
        *,
        queue: str = "",
        type: str = "",
        job: str = "",
        since: str = "",
        patience_s: float | None = 60.0,
    ) -> AsyncGenerator[JobEvent | Gap]:
        """Iterate over what happens, from now on or behind the event `since`, without an end.

        A connection that is cut is made again, and goes on behind the last event. `Gap` says that events
        were lost. Without a connection for `patience_s` the last error is raised; None waits for ever.
        """
        stream = Stream(queue=queue, type=type, job=job, since=since, patience_s=patience_s)
        while True:
            failed: ApiError | None = None
            try:
                async for one in self._connection(stream):
                    yield one
            except httpx.TransportError as error:
                failed = unreachable(error)
            except ApiError as error:
                failed = error
            await anyio.sleep(stream.wait_s(failed))

    async def _connection(self, stream: Stream) -> AsyncGenerator[JobEvent | Gap]:
        async with self._http.stream(
            "GET",
            self._url + PATH,
            params=stream.query,
            headers={**self._headers, **stream.headers},
            timeout=SILENT_S,
        ) as answer:
            if answer.status_code >= 400:
                told = answer.headers.get("Retry-After", "")
                raise failure(answer.status_code, await answer.aread(), told)
            stream.connected()
            async for line in answer.aiter_lines():
                event = stream.feed(line)
                if event is not None:
                    yield event

    async def _ask(self, call: Call[T]) -> T:
        try:
            answer = await self._http.request(
                call.method,
                self._url + call.path,
                params=call.query,
                headers={**self._headers, **call.headers},
                content=call.body,
            )
        except httpx.TransportError as error:
            raise unreachable(error) from error
        if answer.status_code >= 400:
            told = answer.headers.get("Retry-After", "")
            raise failure(answer.status_code, answer.content, told)
        return call.read(answer.content)
