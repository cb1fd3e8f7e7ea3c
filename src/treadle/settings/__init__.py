"""Settings: defaults < `pyproject.toml` or `treadle.toml` < `.env` < environment < flags."""

from __future__ import annotations

from treadle.settings.loading import NAMES, load
from treadle.settings.redact import redacted, redacted_fields
from treadle.settings.schedules import variable_of
from treadle.settings.sources import PLAIN_NAMES
from treadle.settings.units import duration, size, written
from treadle.settings.values import (
    DEFAULT_URL,
    UNSET,
    JobSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    ScheduleSettings,
    Settings,
    WebSettings,
    WorkerSettings,
)

__all__ = [
    "DEFAULT_URL",
    "NAMES",
    "PLAIN_NAMES",
    "UNSET",
    "JobSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "ScheduleSettings",
    "Settings",
    "WebSettings",
    "WorkerSettings",
    "duration",
    "load",
    "redacted",
    "redacted_fields",
    "size",
    "variable_of",
    "written",
]
