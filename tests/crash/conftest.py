"""Real processes on a real file, ended by real signals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A store, an application, and the processes that a test starts."""
    site = Site(tmp_path)
    yield site
    site.close()
