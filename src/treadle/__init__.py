"""Treadle: background jobs with one state machine, any broker, proven.

The names of `__all__` are what users may rely on. Each is loaded when it is first used, so that
importing `treadle` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from treadle.app import Jobs
    from treadle.domain.job import Priority
    from treadle.domain.outcome import (
        Cancelled,
        Failed,
        Interrupted,
        Lost,
        Outcome,
        Rejected,
        Snoozed,
        Succeeded,
    )
    from treadle.errors import (
        AppNotFound,
        BrokerError,
        BrokerMissing,
        BrokerRefused,
        BrokerUnavailable,
        ConfigurationError,
        IllegalTransition,
        JobCancelled,
        JobDead,
        JobEnded,
        JobError,
        JobNotFound,
        KeyHeld,
        LeaseLost,
        NotAccepted,
        PayloadError,
        PluginError,
        QueueFull,
        ResultGone,
        ResultTimeout,
        SessionEnded,
        StorageFull,
        TooLarge,
        TreadleError,
        Uncertain,
        UnknownParent,
        UnknownType,
        WrongThread,
    )
    from treadle.hooks import hookimpl
    from treadle.runtime.attempt import Attempt, Middleware, Next
    from treadle.runtime.context import Context
    from treadle.runtime.depends import Depends
    from treadle.runtime.handle import Job
    from treadle.runtime.handlers import Handler
    from treadle.runtime.policies import delays, exponential, fixed, linear
    from treadle.runtime.registry import Handlers
    from treadle.runtime.signals import Cancel, GiveUp, Retry, Snooze
    from treadle.runtime.signature import Payload

__all__ = [
    "AppNotFound",
    "Attempt",
    "BrokerError",
    "BrokerMissing",
    "BrokerRefused",
    "BrokerUnavailable",
    "Cancel",
    "Cancelled",
    "ConfigurationError",
    "Context",
    "Depends",
    "Failed",
    "GiveUp",
    "Handler",
    "Handlers",
    "IllegalTransition",
    "Interrupted",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobEnded",
    "JobError",
    "JobNotFound",
    "Jobs",
    "KeyHeld",
    "LeaseLost",
    "Lost",
    "Middleware",
    "Next",
    "NotAccepted",
    "Outcome",
    "Payload",
    "PayloadError",
    "PluginError",
    "Priority",
    "QueueFull",
    "Rejected",
    "ResultGone",
    "ResultTimeout",
    "Retry",
    "SessionEnded",
    "Snooze",
    "Snoozed",
    "StorageFull",
    "Succeeded",
    "TooLarge",
    "TreadleError",
    "Uncertain",
    "UnknownParent",
    "UnknownType",
    "WrongThread",
    "delays",
    "exponential",
    "fixed",
    "hookimpl",
    "linear",
]

_ELSEWHERE: Final = {
    "treadle.app": "Jobs",
    "treadle.domain.job": "Priority",
    "treadle.domain.outcome": (
        "Cancelled Failed Interrupted Lost Outcome Rejected Snoozed Succeeded"
    ),
    "treadle.hooks": "hookimpl",
    "treadle.runtime.attempt": "Attempt Middleware Next",
    "treadle.runtime.context": "Context",
    "treadle.runtime.depends": "Depends",
    "treadle.runtime.handle": "Job",
    "treadle.runtime.handlers": "Handler",
    "treadle.runtime.policies": "delays exponential fixed linear",
    "treadle.runtime.registry": "Handlers",
    "treadle.runtime.signature": "Payload",
    "treadle.runtime.signals": "Cancel GiveUp Retry Snooze",
}
_HOME: Final = {name: module for module, names in _ELSEWHERE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("treadle")
    if name not in __all__:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    value = getattr(import_module(_HOME.get(name, "treadle.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
