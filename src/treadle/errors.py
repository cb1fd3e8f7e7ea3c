"""Every error that Treadle raises to its users.

    TreadleError
    |-- ConfigurationError
    |   `-- AppNotFound
    |-- PluginError
    |   `-- BrokerMissing
    |-- BrokerError
    |   |-- BrokerUnavailable
    |   |-- BrokerRefused
    |   |-- SessionEnded
    |   |-- LeaseLost
    |   |-- NotAccepted
    |   |   |-- TooLarge
    |   |   |-- StorageFull
    |   |   |-- QueueFull
    |   |   |-- KeyHeld
    |   |   `-- UnknownParent
    |   `-- Uncertain
    |-- JobError
    |   |-- UnknownType
    |   |-- PayloadError
    |   |-- JobNotFound
    |   |-- ResultGone
    |   `-- JobEnded
    |       |-- JobDead
    |       `-- JobCancelled
    |-- IllegalTransition
    |-- ResultTimeout
    `-- WrongThread

A message says what happened, to which job or queue, and what to do next. `code` is stable and
names the error's entry in the documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class TreadleError(Exception):
    """The root of everything that Treadle raises."""

    code: ClassVar[str] = "QRUN-E000"


class ConfigurationError(TreadleError):
    """A setting, argument or handler definition cannot be used as it is."""

    code = "QRUN-C001"


class AppNotFound(ConfigurationError):
    """The `Jobs` object that a command needs was not found or could not be imported."""

    code = "QRUN-C002"


class PluginError(TreadleError):
    """A plugin could not be loaded, or does not fit this version."""

    code = "QRUN-P001"


class BrokerMissing(PluginError):
    """No installed plugin supplies a broker for this URL."""

    code = "QRUN-P002"


class BrokerError(TreadleError):
    """The broker did not do what was asked."""

    code = "QRUN-B000"


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached, or its store cannot be read or written."""

    code = "QRUN-B001"


class BrokerRefused(BrokerError):
    """The store exists but must not be used: newer schema, too old a server, a foreign file."""

    code = "QRUN-B002"


class SessionEnded(BrokerError):
    """This worker's session has ended: it may not claim, and its attempts no longer count.

    `taken` says that another process opened a session under the same name.
    """

    code = "QRUN-B003"

    def __init__(self, message: str, *, taken: bool = False) -> None:
        super().__init__(message)
        self.taken = taken


class LeaseLost(BrokerError):
    """The attempt no longer owns its job: another session may run it now."""

    code = "QRUN-B004"


class NotAccepted(BrokerError):
    """The job was not stored; nothing of it remains. `ids` names the refused jobs of a bulk call."""

    code = "QRUN-B010"

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class TooLarge(NotAccepted):
    """The payload is larger than the limit."""

    code = "QRUN-B011"


class StorageFull(NotAccepted):
    """The store has no room left."""

    code = "QRUN-B012"


class QueueFull(NotAccepted):
    """The queue has reached its configured length."""

    code = "QRUN-B013"


class KeyHeld(NotAccepted):
    """Another job holds the unique key, and the key was asked to reject."""

    code = "QRUN-B014"


class UnknownParent(NotAccepted):
    """A job that this one shall run after does not exist."""

    code = "QRUN-B015"


class Uncertain(BrokerError):
    """The job may or may not be stored; enqueueing again with the same id is safe."""

    code = "QRUN-B020"

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class JobError(TreadleError):
    """Something is wrong with one job."""

    code = "QRUN-J000"


class UnknownType(JobError):
    """No handler is registered under this job type."""

    code = "QRUN-J001"


class PayloadError(JobError):
    """The arguments do not fit the handler; nothing was enqueued."""

    code = "QRUN-J002"

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class JobNotFound(JobError):
    """No job with this id is known."""

    code = "QRUN-J003"


class ResultGone(JobError):
    """The job is final, but its record was purged: its result is no longer kept."""

    code = "QRUN-J004"


class JobEnded(JobError):
    """The job ended without a result; `remote_traceback` is the handler's own, as text."""

    code = "QRUN-J010"

    def __init__(
        self, message: str, *, id: str = "", reason: str = "", remote_traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.id = id
        self.reason = reason
        self.remote_traceback = remote_traceback


class JobDead(JobEnded):
    """The job is in the dead letters; its reason says why."""

    code = "QRUN-J011"


class JobCancelled(JobEnded):
    """The job was cancelled."""

    code = "QRUN-J012"


class IllegalTransition(TreadleError):
    """The job's state does not allow what was asked."""

    code = "QRUN-J020"


class ResultTimeout(TreadleError, TimeoutError):
    """The job was not final in the time that the caller wanted to wait; it goes on."""

    code = "QRUN-J021"


class WrongThread(TreadleError):
    """A `_sync` call was made on a running event loop, or an async one where none runs."""

    code = "QRUN-E001"
