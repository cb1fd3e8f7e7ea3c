"""The handle of one job: what enqueueing returns, and how its caller follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

import msgspec
from msgspec import Struct

from treadle.domain.job import After, At, Record, Ref
from treadle.domain.job import Job as Spec
from treadle.domain.state import Shown, shown
from treadle.errors import JobNotFound, ResultGone
from treadle.runtime.context import Progress
from treadle.runtime.duration import Duration
from treadle.runtime.portal import PORTAL

if TYPE_CHECKING:
    from treadle.runtime.client import Client

R_co = TypeVar("R_co", covariant=True)


_progress_decoder = msgspec.json.Decoder(Progress)


class Job(Struct, Generic[R_co], eq=False, gc=False):
    """A job that was enqueued. `state` and `progress` are as of the last `refresh`."""

    _client: Client
    _spec: Spec
    _record: Record | None = None
    _progress: bytes | None = None
    _is_new: bool | None = True

    @property
    def id(self) -> str:
        """Return the id; with the queue it is the job's identity."""
        return self._spec.id

    @property
    def queue(self) -> str:
        """Return the queue."""
        return self._spec.queue

    @property
    def type(self) -> str:
        """Return the registered name of its handler."""
        return self._spec.type

    @property
    def is_new(self) -> bool | None:
        """Tell whether this enqueue stored it; None if that cannot be known.

        A reply was lost then, and when the job was sent again its id was there, with the same content:
        from the first try, or from somebody who used the same id before.
        """
        return self._is_new

    @property
    def state(self) -> Shown:
        """Return the state as last seen."""
        now = self._client.now_ms()
        if self._record is not None:
            head = self._record.head
            return shown(head.state, due=head.due, attempt=head.attempt, now=now)
        return _first_state(self._spec, now)

    @property
    def attempt(self) -> int:
        """Return the number of the attempt as last seen; 0 before the first."""
        return 0 if self._record is None else self._record.head.attempt

    @property
    def progress(self) -> Progress | None:
        """Return what the handler last said of its progress, as last seen."""
        if self._progress is None:
            return None
        try:
            return _progress_decoder.decode(self._progress)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def record(self) -> Record | None:
        """Return everything that was last seen of it; None before the first `refresh`."""
        return self._record

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the job and return what its handler returned.

        Raises:
            JobDead, JobCancelled: if it ended without a result; with the handler's traceback.
            ResultGone: if its result is no longer kept.
            ResultTimeout: if it is not final within `timeout` seconds; it goes on.
        """
        try:
            return cast("R_co", await self._client.result(self._ref, timeout))
        except JobNotFound as error:
            raise ResultGone(f"{error}: its result is no longer kept") from None

    async def refresh(self) -> Self:
        """Read state, history and progress from the broker.

        Raises:
            JobNotFound: if its record is gone.
        """
        self._record = await self._client.get(self._ref)
        self._progress = (await self._client.notes(self._ref)).progress
        return self

    async def cancel(self) -> None:
        """Cancel the job: at once if it waits, else by asking the worker that runs it.

        Raises:
            IllegalTransition: if it is final already.
            JobNotFound: if its record is gone.
        """
        await self._client.cancel(self._ref)
        await self.refresh()

    async def retry(self) -> None:
        """Start a new run of the job once it is final; its history stays.

        Raises:
            IllegalTransition: if it is not final.
            JobNotFound: if its record is gone.
            KeyHeld: if another job holds its unique key by now.
        """
        await self._client.retry(self._ref)
        await self.refresh()

    def result_sync(self, timeout: Duration | None = None) -> R_co:
        """Do what `result` does, from a thread that runs no event loop."""
        return PORTAL.call(self.result, timeout)

    def refresh_sync(self) -> Self:
        """Do what `refresh` does, from a thread that runs no event loop."""
        return PORTAL.call(self.refresh)

    def cancel_sync(self) -> None:
        """Do what `cancel` does, from a thread that runs no event loop."""
        PORTAL.call(self.cancel)

    def retry_sync(self) -> None:
        """Do what `retry` does, from a thread that runs no event loop."""
        PORTAL.call(self.retry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self._ref == other._ref

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.type} queue={self.queue} {self.state}>"

    @property
    def _ref(self) -> Ref:
        return Ref(self._spec.queue, self._spec.id)


def _first_state(spec: Spec, now: int) -> Shown:
    if spec.after:
        return Shown.BLOCKED
    match spec.due:
        case After(ms=ms):
            return Shown.SCHEDULED if ms > 0 else Shown.QUEUED
        case At(ms=ms):
            return Shown.SCHEDULED if ms > now else Shown.QUEUED
