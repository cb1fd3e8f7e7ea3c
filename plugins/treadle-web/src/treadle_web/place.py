"""Where a request stands: below which prefix, and with which slashes in its path."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import unquote

_SLASH: Final = re.compile(r"%2f", re.IGNORECASE)


def place(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Return the path, with the prefix of a mount and slashes that belong to an id, and the prefix.

    A slash that was written as %2F stays written so, as %252F is: routes must not see it. Whoever mounts
    applications tells them the prefix as `root_path` and leaves the path whole; some (Litestar) take the
    prefix off and tell nothing, but the raw path has it.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    raw = scope.get("raw_path")
    if not isinstance(raw, bytes) or len(raw) == len(
        path
    ):  # nothing was escaped, nothing taken off
        return {"path": path, "root_path": root}
    text = raw.decode("ascii", "replace").partition("?")[0]
    whole = unquote(text)
    inner = path.rstrip("/")
    if whole != path and not root and inner and whole.rstrip("/").endswith(inner):
        path, root = whole, whole.rstrip("/").removesuffix(inner)
    if whole == path:
        path = unquote(_SLASH.sub("%252F", text))
    return {"path": path, "root_path": root}
