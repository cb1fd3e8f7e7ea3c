"""Payloads: from a call to bytes, checked when enqueued, and back to arguments, checked when run.

A payload is a JSON object of the arguments by name; defaults are not written, so a later version
of the handler may change or gain them while jobs wait. What is checked when enqueued is the very
text that will be read: it is decoded once with the decoder that the worker uses.

Decided once, for every broker, at both ends: NaN, infinity, integers beyond 64 bits, lone surrogates
and more than 64 levels of nesting are refused; NUL in text is allowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import methodcaller
from typing import Any, Final, cast

import msgspec
from msgspec.structs import asdict, astuple

from treadle.domain.job import ErrorInfo
from treadle.domain.limits import PAYLOAD_BYTES_HARD, PAYLOAD_DEPTH, TooDeep, check_depth, clip
from treadle.domain.outcome import Rejected
from treadle.domain.state import Reason
from treadle.errors import PayloadError, TooLarge
from treadle.runtime.failures import readable
from treadle.runtime.json_numbers import BadNumber, check_numbers, may_be_huge
from treadle.runtime.signature import Signature
from treadle.runtime.wording import sentence

_encode = msgspec.json.Encoder().encode
_decode_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_MANY_DIGITS: Final = 10**18
_values_of = methodcaller("values")
_MESSAGE_CHARS = 2 * 1024
_NONE: Final = type(None)
_TEXT: Final = frozenset({str, _NONE})
_PLAIN: Final = frozenset({str, _NONE, bool, int, float, list, tuple, dict})
"""What is never written as JSON text, unless it is text."""


class Arguments:
    """Binds, checks, encodes and decodes the arguments of one handler."""

    def __init__(self, name: str, signature: Signature) -> None:
        self.signature = signature
        self._name = name
        self._is_deep = signature.deep
        self._has_nulls = signature.nulls
        self._numbers = signature.numbers
        self._hides_numbers = signature.hides_numbers
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
            values = self._decode(text)
        except Exception as error:
            raise self._refusal(payload, error) from error
        if (
            self._is_deep
            or (self._has_nulls and b"null" in text)
            or self._may_be_huge(values, text)
            or not _PLAIN.issuperset(map(type, payload.values()))
        ):
            self._look_closer(payload, text)
        if len(text) > limit:
            raise self._too_large(len(text), limit)
        return text

    def encode_many(self, payloads: Sequence[dict[str, Any]], limit: int) -> list[bytes] | None:
        """Do what `encode` does, at the speed of C loops; None if each must be looked at alone."""
        try:
            texts = list(map(_encode, payloads))
            deque(map(self._decode, texts), maxlen=0)
        except Exception:  # noqa: BLE001 - `encode` finds it again, and says which one it is
            return None
        if max(map(len, texts), default=0) > limit:
            return None
        if self._is_deep and _most(texts, b"[") + _most(texts, b"{") > PAYLOAD_DEPTH:
            return None
        values = list(chain.from_iterable(map(_values_of, payloads)))
        whole = b"\n".join(texts)
        if self._has_nulls and _may_be_nan(values, whole):
            return None
        if (self._numbers or self._hides_numbers) and may_be_huge(whole):
            return None
        if not _PLAIN.issuperset(map(type, values)) and self._may_be_no_text(payloads):
            return None
        return texts

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
            if may_be_huge(text):
                check_numbers(_decode_any.decode(text), text)
        except BadNumber as error:
            raise self.refused(*_bad_number(error)) from None
        except Exception as error:
            raise self.refused(*sentence(error, self.signature.names, text)) from error
        return text

    def _look_closer(self, payload: dict[str, Any], text: bytes) -> None:
        """Check what encoding and decoding does not: depth, hidden numbers, and text from what is no text."""
        try:
            if self._is_deep:
                check_depth(text)
            if _may_be_nan(list(payload.values()), text) or may_be_huge(text):
                check_numbers(payload, text)
        except TooDeep as error:
            raise self.refused(*sentence(error, self.signature.names, text)) from None
        except BadNumber as error:
            raise self.refused(*_bad_number(error)) from None
        for name in self.signature.text_names:
            value = payload.get(name)
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__
                raise self.refused(f"{name!r} must be str, got {kind} (at $.{name})", f"$.{name}")

    def _may_be_huge(self, values: Any, text: bytes) -> bool:
        """Tell whether a payload may hold a huge integer; `values` is what was decoded."""
        if self._hides_numbers:
            return may_be_huge(text)
        for name in self._numbers:
            if not -_MANY_DIGITS < getattr(values, name) < _MANY_DIGITS:
                return may_be_huge(text)
        return False

    def _may_be_no_text(self, payloads: Sequence[dict[str, Any]]) -> bool:
        """Tell whether what is no text, but is written as such, was given for a plain text."""
        return not all(
            _TEXT.issuperset(type(cast("object", payload.get(name))) for payload in payloads)
            for name in self.signature.text_names
        )

    def refused(self, what: str, path: str) -> PayloadError:
        """Say that nothing was enqueued, and why."""
        end = "" if what.endswith((".", "?")) else "."
        return PayloadError(f"{self._name}: {what}{end} Nothing was enqueued.", path=path)

    def _too_large(self, size: int, limit: int) -> TooLarge:
        return TooLarge(
            f"{self._name}: the payload has {size:,} bytes, the limit is {limit:,}. Store the "
            "data elsewhere and enqueue a reference. Nothing was enqueued."
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
        values = self._read(text)
        return (values,) if self._whole else astuple(values)

    def by_name(self, text: bytes) -> dict[str, Any]:
        """Return the values of all arguments by name."""
        values = self._read(text)
        return {self._whole: values} if self._whole else asdict(values)

    def _read(self, text: bytes) -> Any:
        """Decode a payload, which may come from a producer that is not ours."""
        if len(text) > PAYLOAD_BYTES_HARD:
            raise PayloadError(f"the payload has {len(text):,} bytes, more than any limit allows")
        if self._is_deep:
            check_depth(text)
        values = self._decode(text)
        if self._may_be_huge(values, text):
            check_numbers(_decode_any.decode(text), text)
        return values

    def rejected(self, text: bytes, error: Exception) -> Rejected:
        """Return the outcome of a job whose payload does not fit: no attempt can help it."""
        match error:
            case PayloadError():
                what = str(error)
            case BadNumber():
                what, _ = _bad_number(error)
            case _:
                what, _ = sentence(error, self.signature.names, text)
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


def _bad_number(error: BadNumber) -> tuple[str, str]:
    """Return what is wrong with a number, as a clause, and the JSON path of the place."""
    where = error.path.removeprefix("$").removeprefix(".")
    return f"{where!r}: {error} (at {error.path})", error.path


def _may_be_nan(values: list[Any], text: bytes) -> bool:
    """Tell whether NaN may stand as null in a text; `values` are the arguments in it."""
    return text.count(b"null") != values.count(None)


def _most(texts: Iterable[bytes], bracket: bytes) -> int:
    return max(map(bytes.count, texts, repeat(bracket)), default=0)


def as_dict(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as a dict, copied only if it is none.

    Raises:
        PayloadError: if it is no mapping.
    """
    if isinstance(payload, dict):
        return payload
    if isinstance(cast("object", payload), Mapping):
        return dict(payload)
    text = f"must be a mapping of arguments by name, got {type(payload).__name__}"
    raise PayloadError(f"{text}. Nothing was enqueued.", path="$")
