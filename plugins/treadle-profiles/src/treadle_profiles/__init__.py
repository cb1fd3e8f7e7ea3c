"""The contracts of five small job services, each a module over `treadle.profile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from treadle.profile import Profile

hookimpl = pluggy.HookimplMarker("treadle")


@hookimpl
def treadle_profiles() -> Sequence[Profile]:
    """Return the five; each call makes its own, so two servers of one process share nothing."""
    from treadle_profiles import (  # noqa: PLC0415 - loaded when a profile is asked for
        documents,
        jqs,
        pool,
        streams,
        submit,
    )

    return [one.profile() for one in (pool, submit, documents, jqs, streams)]


__all__ = ["treadle_profiles"]
