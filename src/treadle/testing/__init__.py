"""For tests of applications: what the pytest fixtures `jobs_test` and `fleet` are made of.

Installed with Treadle as a pytest plugin; without pytest, use `JobsTest` and `Fleet` directly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from treadle.testing.fleet import Fleet, FleetReport
    from treadle.testing.jobs_test import Enqueued, JobsTest
    from treadle.testing.virtual import virtual_backends

__all__ = ["Enqueued", "Fleet", "FleetReport", "JobsTest", "virtual_backends"]

_HOME: Final = {
    "Enqueued": "treadle.testing.jobs_test",
    "Fleet": "treadle.testing.fleet",
    "FleetReport": "treadle.testing.fleet",
    "JobsTest": "treadle.testing.jobs_test",
    "virtual_backends": "treadle.testing.virtual",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'treadle.testing' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
