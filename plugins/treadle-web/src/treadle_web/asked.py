"""A request whose headers are looked up in a dict: several places ask for several of them."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope

WHOLE: Final = "treadle.whole"
"""The scope has it if the whole body was there before the application was called."""


class _Headers(Headers):
    """Headers whose `get` does not walk along all of them; of those of one name the first counts."""

    def __init__(self, scope: Scope, first: dict[bytes, bytes]) -> None:
        super().__init__(raw=list(scope["headers"]))
        self._first = first

    def get(self, key: str, default: Any = None, /) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class Asked(Request):
    """A request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.given: dict[bytes, bytes] = dict(reversed(list(scope["headers"])))
        """The first header of each name, in lower case, as it was sent."""

    @property
    def headers(self) -> Headers:
        """Return the headers."""
        if not hasattr(self, "_headers"):
            self._headers = _Headers(self.scope, self.given)
        return self._headers

    def header(self, name: bytes) -> str:
        """Return a header by its name in lower case; "" if it was not sent."""
        value = self.given.get(name)
        return "" if value is None else value.decode("latin-1")
