"""Payloads: from a call to bytes, checked when enqueued, and back to arguments, checked when run.

A payload is a JSON object of the arguments by name; defaults are not written, so a later version
of the handler may change or gain them while jobs wait. What is checked when enqueued is the very
text that will be read: it is decoded once with the decoder that the worker uses.

Decided once, for every broker: NaN, infinity, integers beyond 64 bits, lone surrogates and more
than 64 levels of nesting are refused; NUL in text is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
from msgspec.structs import asdict, astuple

from treadle.domain.job import ErrorInfo
from treadle.domain.limits import PAYLOAD_BYTES_HARD, PAYLOAD_DEPTH, TooDeep, check_depth, clip
from treadle.domain.outcome import Rejected
from treadle.domain.state import Reason
from treadle.errors import PayloadError, TooLarge
from treadle.runtime.failures import readable
from treadle.runtime.json_numbers import HIGHEST, LOWEST, BadNumber, check_numbers
from treadle.runtime.signature import Signature
from treadle.runtime.wording import sentence

_encode = msgspec.json.Encoder().encode
_decode_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_NONE = type(None)
_MESSAGE_CHARS = 2 * 1024


class Arguments:
    """Binds, checks, encodes and decodes the arguments of one handler."""

    def __init__(self, name: str, signature: Signature) -> None:
        self.signature = signature
        self._name = name
        self._nests = signature.nests
        self._whole = signature.whole
        self._positional = signature.positional
        kind: Any = dict[str, Any] if self._whole else signature.struct
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode

    # Enqueueing

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the payload that a call means; what is missing is found when it is checked.

        Raises:
            PayloadError: if there are too many arguments, or one is given twice.
        """
        if self._whole:
            return self._bind_whole(args, kwargs)
        if not args:
            return kwargs
        names = self._positional
        if len(args) > len(names):
            raise self.refused(f"takes {len(names)} positional arguments, got {len(args)}", "$")
        payload = dict(zip(names, args))  # noqa: B905 - fewer is fine, more was refused
        if kwargs:
            twice = payload.keys() & kwargs.keys()
            if twice:
                name = min(twice)
                raise self.refused(f"{name!r} is given twice (at $.{name})", f"$.{name}")
            payload |= kwargs
        return payload

    def _bind_whole(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = (*args, *kwargs.values())
        if len(given) != 1 or (kwargs and self._whole not in kwargs):
            raise self.refused(f"takes one argument, {self._whole!r}: the payload", "$")
        if not isinstance(given[0], dict):
            raise self.refused(f"the payload must be a dict, got {type(given[0]).__name__}", "$")
        return cast("dict[str, Any]", given[0])

    def encode(self, payload: dict[str, Any], limit: int) -> bytes:
        """Return a payload as the bytes that are stored, after checking that they will be read.

        Raises:
            PayloadError: naming the argument that does not fit.
            TooLarge: if it has more than `limit` bytes.
        """
        try:
            text = _encode(payload)
            self._decode(text)
        except Exception as error:
            raise self._refusal(payload, error) from error
        for value in payload.values():
            kind = value.__class__
            if kind is str:
                continue
            if kind is int:
                if LOWEST <= value <= HIGHEST:
                    continue
            elif kind is float:
                if value - value == 0.0:
                    continue
            elif kind is bool or kind is _NONE:
                continue
            self._look_closer(payload, text)
            break
        if len(text) > limit:
            raise self._too_large(len(text), limit)
        return text

    def accept(self, text: bytes, limit: int) -> bytes:
        """Check a payload that comes as JSON text; return it.

        Raises:
            PayloadError: naming the argument that does not fit.
            TooLarge: if it has more than `limit` bytes.
        """
        if len(text) > limit:
            raise self._too_large(len(text), limit)
        try:
            check_depth(text)
            self._decode(text)
            check_numbers(_decode_any.decode(text), text)
        except BadNumber as error:
            raise self._number(error) from None
        except Exception as error:
            raise self.refused(*sentence(error, self.signature.names, text)) from error
        return text

    def _look_closer(self, payload: dict[str, Any], text: bytes) -> None:
        """Check what encoding and decoding does not: depth, hidden numbers, and text from what is no text."""
        try:
            check_depth(text)
            check_numbers(payload, text)
        except TooDeep as error:
            raise self.refused(*sentence(error, self.signature.names, text)) from None
        except BadNumber as error:
            raise self._number(error) from None
        for name in self.signature.text_names:
            value = payload.get(name)
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__
                raise self.refused(f"{name!r} must be str, got {kind} (at $.{name})", f"$.{name}")

    def refused(self, what: str, path: str) -> PayloadError:
        """Say that nothing was enqueued, and why."""
        message = f"{self._name}: {what}".rstrip(".")
        return PayloadError(f"{message}. Nothing was enqueued.", path=path)

    def _number(self, error: BadNumber) -> PayloadError:
        where = error.path.removeprefix("$").removeprefix(".")
        return self.refused(f"{where!r}: {error} (at {error.path})", error.path)

    def _too_large(self, size: int, limit: int) -> TooLarge:
        return TooLarge(
            f"{self._name}: the payload has {size:,} bytes, the limit is {limit:,}. Nothing was "
            "enqueued. Store the data elsewhere and enqueue a reference"
        )

    def _refusal(self, payload: dict[str, Any], error: Exception) -> PayloadError:
        """Find the argument that cannot be written, or that the decoder refused."""
        if isinstance(error, msgspec.DecodeError):
            return self.refused(*sentence(error, self.signature.names, b""))
        for name, value in payload.items():
            try:
                _encode(value)
            except UnicodeEncodeError:
                what = f"{name!r} holds a lone surrogate, which is no text (at $.{name})"
            except RecursionError:
                what = f"{name!r} is nested too deep, or holds itself (at $.{name})"
            except Exception as raised:  # noqa: BLE001 - it holds objects of the user
                what = f"{name!r} cannot be written as JSON: {raised} (at $.{name})"
            else:
                continue
            return self.refused(what, f"$.{name}")
        return self.refused(f"the payload cannot be written as JSON: {error}", "$")

    # Running

    def by_position(self, text: bytes) -> tuple[Any, ...]:
        """Return the values of all arguments in order, for a function called by position."""
        _check_size(text, self._nests)
        values = self._decode(text)
        return (values,) if self._whole else astuple(values)

    def by_name(self, text: bytes) -> dict[str, Any]:
        """Return the values of all arguments by name."""
        _check_size(text, self._nests)
        values = self._decode(text)
        return {self._whole: values} if self._whole else asdict(values)

    def rejected(self, text: bytes, error: Exception) -> Rejected:
        """Return the outcome of a job whose payload does not fit: no attempt can help it."""
        too_large = isinstance(error, PayloadError)
        what = str(error) if too_large else sentence(error, self.signature.names, text)[0]
        message = clip(readable(f"{self._name}: {what}"), _MESSAGE_CHARS)
        return Rejected(
            reason=Reason.BAD_ARGUMENTS, error=ErrorInfo(type="PayloadError", message=message)
        )

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the payload."""
        if self._whole:
            return {"title": self._name, "type": "object"}
        made = msgspec.json.schema(self.signature.struct)
        definitions: dict[str, Any] = made.pop("$defs")
        own: dict[str, Any] = definitions.pop(made["$ref"].rpartition("/")[2])
        return {**own, "title": self._name} | ({"$defs": definitions} if definitions else {})


def _check_size(text: bytes, nests: bool) -> None:
    """Refuse what no producer of ours can have written, before it is decoded."""
    if len(text) > PAYLOAD_BYTES_HARD:
        raise PayloadError(f"the payload has {len(text):,} bytes, more than any limit allows")
    if nests and text.count(b"[") + text.count(b"{") > PAYLOAD_DEPTH:
        check_depth(text)


def as_dict(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as a dict, copied only if it is none."""
    return payload if isinstance(payload, dict) else dict(payload)
