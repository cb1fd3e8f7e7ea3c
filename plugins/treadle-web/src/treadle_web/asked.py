"""A request whose headers are looked up in a dict: several places ask for several of them, each time."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

WHOLE: Final = "treadle.whole"
"""The scope has it if the whole body was there before the application was called."""
_HEADERS: Final = "treadle.headers"


class _Headers(Headers):
    """Headers whose `get` does not walk along all of them; of those of one name the first counts."""

    def __init__(self, scope: Scope) -> None:
        raw: list[tuple[bytes, bytes]] = list(scope["headers"])
        super().__init__(raw=raw)
        self._first = dict(reversed(raw))

    def get(self, key: str, default: Any = None, /) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class Asked(Request):
    """A request; all that are made of one scope share its headers."""

    @property
    def headers(self) -> Headers:
        """Return the headers."""
        found: Headers | None = self.scope.get(_HEADERS)
        if found is None:
            found = self.scope[_HEADERS] = _Headers(self.scope)
        return found
