"""What a handler returned: to JSON in the worker, back to its own type at the caller."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, get_type_hints

import msgspec

from treadle.domain.limits import RESULT_BYTES, RESULT_TOO_LARGE, RESULT_UNSERIALISABLE
from treadle.errors import JobError, ResultGone
from treadle.runtime.failures import describe
from treadle.runtime.json_numbers import check_finite

logger = logging.getLogger("treadle.handlers")

_encode = msgspec.json.Encoder().encode
_NEVER_NULL = frozenset({str, int, bool})


class Results:
    """Encodes and decodes the results of one function, after its return annotation."""

    def __init__(self, function: Callable[..., Any], name: str = "") -> None:
        self._function = function
        self.name = name

    def strict(self, value: Any) -> bytes:
        """Return the value as JSON, or raise whatever says why it cannot be."""
        text = _encode(value)
        if value.__class__ not in _NEVER_NULL:
            check_finite(value, text)
        return text

    def encode(self, value: Any) -> bytes | None:
        """Return what is stored; a value that cannot be kept leaves a note in its place.

        The attempt has succeeded, whatever becomes of its result.
        """
        if value is None:
            return None
        try:
            text = self.strict(value)
        except Exception as error:  # noqa: BLE001 - the value is the user's, and so is what it raises
            self._warn("result_unserialisable", error=describe(error).message)
            return RESULT_UNSERIALISABLE
        if len(text) > RESULT_BYTES:
            self._warn("result_too_large", bytes=len(text))
            return RESULT_TOO_LARGE
        return text

    def _warn(self, event: str, **fields: object) -> None:
        logger.warning(event, extra={"type": self.name, **fields})

    def decode(self, data: bytes | None) -> Any:
        """Turn a stored result into the type that the function says it returns.

        Raises:
            ResultGone: if the result could not be kept.
            JobError: if it does not fit the annotation.
        """
        if data is None:
            return None
        if data == RESULT_UNSERIALISABLE:
            raise ResultGone(
                f"{self.name}: the job succeeded, but its result cannot be written as JSON"
            )
        if data == RESULT_TOO_LARGE:
            raise ResultGone(
                f"{self.name}: the job succeeded, but its result was too large to be kept "
                f"(limit {RESULT_BYTES:,} bytes): store it elsewhere and return a reference"
            )
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise JobError(
                f"{self.name}: the result does not fit the return annotation: {error}"
            ) from error

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        try:
            returns = get_type_hints(inspect.unwrap(self._function), include_extras=True)["return"]
            # A schema can be made of exactly those types that JSON can carry.
            msgspec.json.schema(returns)
            return msgspec.json.Decoder(returns)
        except Exception:  # noqa: BLE001 - no annotation, or one that JSON does not know: plain JSON
            return msgspec.json.Decoder()
