"""Each of these tests runs the real worker, on every embedded broker."""

from __future__ import annotations

from tests.support.places import adapter, anyio_backend, place

__all__ = ["adapter", "anyio_backend", "place"]
