"""The client for programs without an event loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

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
from treadle_web.client.calls import Call, Filter, New
from treadle_web.client.failures import ApiError, failure, unreachable
from treadle_web.client.resuming import PATH, SILENT_S, Stream

T = TypeVar("T")
ALL = Filter()


class Client:
    """Speaks to one server; every refusal is an `ApiError`. Close it, or use it with `with`."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = 60.0,
        http: httpx.Client | None = None,
    ) -> None:
        """Use the server at `url`, with the prefix under which it is mounted; `http` has what it says."""
        self._http = http or httpx.Client(timeout=timeout_s)
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def enqueue(self, new: New, *, idempotency_key: str = "") -> Created:
        """Enqueue a job; with a key, asking again stores nothing and tells the first answer."""
        return self._ask(calls.enqueue(new, idempotency_key))

    def enqueue_many(self, jobs: Sequence[New], *, idempotency_key: str = "") -> tuple[Item, ...]:
        """Enqueue up to 1,000 jobs; each item says what became of the job at its place."""
        return self._ask(calls.enqueue_many(jobs, idempotency_key)).items

    def get(self, id: str, *, queue: str = "") -> JobDetails:
        """Read a job; without a queue every queue is asked."""
        return self._ask(calls.get(id, queue))

    def cancel(self, id: str, *, queue: str = "", seen: str = "") -> JobDetails:
        """Cancel a job; with the fence that was `seen`, only if it has not changed since."""
        return self._ask(calls.cancel(id, queue, seen))

    def retry(self, id: str, *, queue: str = "", seen: str = "") -> JobDetails:
        """Start a new run of a final job."""
        return self._ask(calls.retry(id, queue, seen))

    def delete(self, id: str, *, queue: str = "", seen: str = "") -> None:
        """Remove the record of a final job."""
        self._ask(calls.delete(id, queue, seen))

    def jobs(self, chosen: Filter = ALL) -> Iterator[Job]:
        """Iterate over all jobs that match; pages are read as they are needed."""
        cursor: str | None = None
        while True:
            page = self._ask(calls.page(chosen, cursor))
            yield from page.items
            cursor = page.cursor
            if cursor is None:
                return

    def dead(self, chosen: Filter = ALL) -> Iterator[DeadJob]:
        """Iterate over dead letters; of the filter only queue, type, reason, error and order count."""
        cursor: str | None = None
        while True:
            page = self._ask(calls.dead_page(chosen, cursor))
            yield from page.items
            cursor = page.cursor
            if cursor is None:
                return

    def dead_groups(self, chosen: Filter = ALL) -> tuple[Group, ...]:
        """Return the newest dead letters in groups of those that died of the same."""
        return self._ask(calls.dead_groups(chosen)).items

    def retry_group(self, fingerprint: str, *, dry_run: bool = False) -> int:
        """Run again all dead letters of a group; return how many."""
        return sum(one.done for one in self._on_group("retry", fingerprint, dry_run))

    def discard_group(self, fingerprint: str, *, dry_run: bool = False) -> int:
        """Remove all dead letters of a group; return how many."""
        return sum(one.done for one in self._on_group("discard", fingerprint, dry_run))

    def _on_group(self, action: str, mark: str, dry_run: bool) -> Iterator[Done]:
        cursor: str | None = None
        while True:
            done = self._ask(calls.on_group(action, mark, dry_run=dry_run, cursor=cursor))
            yield done
            cursor = done.cursor
            if cursor is None:
                return

    def queues(self) -> tuple[Queue, ...]:
        """Return the counts of every queue."""
        return self._ask(calls.queues()).items

    def queue(self, name: str) -> Queue:
        """Return the counts of one queue."""
        return self._ask(calls.queue(name))

    def pause(self, name: str) -> Queue:
        """Stop claims of a queue; running jobs go on."""
        return self._ask(calls.queue(name, "pause"))

    def resume(self, name: str) -> Queue:
        """Let workers claim from a queue again."""
        return self._ask(calls.queue(name, "resume"))

    def events(
        self,
        *,
        queue: str = "",
        type: str = "",
        job: str = "",
        since: str = "",
        patience_s: float | None = 60.0,
    ) -> Iterator[JobEvent | Gap]:
        """Iterate over what happens, from now on or behind the event `since`, without an end.

        A connection that is cut is made again, and goes on behind the last event. `Gap` says that events
        were lost. Without a connection for `patience_s` the last error is raised; None waits for ever.
        """
        stream = Stream(queue=queue, type=type, job=job, since=since, patience_s=patience_s)
        while True:
            failed: ApiError | None = None
            try:
                yield from self._connection(stream)
            except httpx.TransportError as error:
                failed = unreachable(error)
            except ApiError as error:
                failed = error
            time.sleep(stream.wait_s(failed))

    def _connection(self, stream: Stream) -> Iterator[JobEvent | Gap]:
        with self._http.stream(
            "GET",
            self._url + PATH,
            params=stream.query,
            headers={**self._headers, **stream.headers},
            timeout=SILENT_S,
        ) as answer:
            if answer.status_code >= 400:
                told = answer.headers.get("Retry-After", "")
                raise failure(answer.status_code, answer.read(), told)
            stream.connected()
            for line in answer.iter_lines():
                event = stream.feed(line)
                if event is not None:
                    yield event

    def _ask(self, call: Call[T]) -> T:
        try:
            answer = self._http.request(
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
