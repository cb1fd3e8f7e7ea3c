"""What a fork does to connections: nothing, because the child keeps them as they are.

Child and parent share each socket, and the selector that watches it. A connection that is closed in
the child, be it only because nobody holds it any more, is taken out of that selector, and the parent
would not hear of its replies again. So what was open when a process was forked stays alive in the
child, untouched, and calls there fail with a sentence (see `links`).
"""

from __future__ import annotations

import os
from weakref import WeakSet

_open: WeakSet[object] = WeakSet()
_of_parents: list[object] = []


def watch(channel: object) -> None:
    """Have a connection outlive every fork of this process, in the child."""
    _open.add(channel)


def _in_child() -> None:
    _of_parents.extend(_open)


if hasattr(os, "register_at_fork"):  # pragma: no branch - always on Linux
    os.register_at_fork(after_in_child=_in_child)
