"""From the bytes of a request to values that fit, or a refusal that says where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import anyio
import msgspec
from msgspec import Struct, UnsetType
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from treadle.domain.limits import TooDeep, check_depth
from treadle_web.asked import WHOLE, Asked
from treadle_web.operation import JSON
from treadle_web.problems import Refusal, invalid, not_fitting
from treadle_web.requests import Instant
from treadle_web.web import Limits

S = TypeVar("S", bound=Struct)


async def read_body(request: Asked, limits: Limits) -> bytes:
    """Read a body that is not too large and does not take too long.

    Raises:
        Refusal: 413, 408.
    """
    if WHOLE in request.scope:  # nothing to wait for, and its size is bounded
        return await _all_of(request.receive, limits)
    told = request.header(b"content-length")
    if told.isdecimal() and int(told[:20]) > limits.body_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    with anyio.move_on_after(limits.body_s) as patience:
        async for part in request.stream():
            size += len(part)
            if size > limits.body_bytes:
                raise _too_large(limits)
            parts.append(part)
    if patience.cancelled_caught:
        text = f"the body did not arrive within {limits.body_s:g} s"
        raise Refusal(408, "body_timeout", text, headers={"Connection": "close"})
    return b"".join(parts)


async def _all_of(receive: Receive, limits: Limits) -> bytes:
    data, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > limits.body_bytes:
            raise _too_large(limits)
    return data


def _too_large(limits: Limits) -> Refusal:
    text = f"a body has at most {limits.body_bytes} bytes"
    return Refusal(413, "body_too_large", text, headers={"Connection": "close"})


def decode_body(request: Asked, data: bytes, kind: Any, limits: Limits) -> Any:
    """Read a JSON body as a type.

    Raises:
        Refusal: 415 if it is not sent as JSON, 400 if it is none, 422 if it does not fit.
    """
    told = request.header(b"content-type")
    if told != JSON and told.partition(";")[0].strip().lower() != JSON:
        raise Refusal(415, "unsupported_media_type", f"send a body as {JSON}")
    try:
        check_depth(data, limits.depth)
        return _decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        raise not_fitting(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "bad_json", f"the body is no JSON: {error}") from None
    except (TooDeep, RecursionError):
        raise invalid(f"the body is nested deeper than {limits.depth} levels", "$") from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode_query(request: Asked, kind: type[S]) -> S:
    """Read the query parameters as a struct; one that is unknown or comes twice is refused.

    Raises:
        Refusal: 422.
    """
    given: dict[str, str] = {}
    told = request.query_params.multi_items() if request.scope["query_string"] else ()
    for name, value in told:
        if name in given:
            raise invalid(f"{name!r} is given twice", f"$query.{name}")
        given[name] = value
    for name in _instants(kind) & given.keys() if given else ():
        if "T" not in given[name].upper():  # msgspec would take a number for Unix time here
            raise invalid("an instant is written as in RFC 3339", f"$query.{name}")
    try:
        return msgspec.convert(given, kind, strict=False) if given else _without(kind)
    except msgspec.ValidationError as error:
        raise not_fitting(error, "$query") from None


@cache
def _without(kind: type[S]) -> S:
    """Return what it means to give no parameters."""
    return msgspec.convert({}, kind, strict=False)


@cache
def _instants(kind: type[Struct]) -> frozenset[str]:
    fields = msgspec.structs.fields(kind)
    return frozenset(f.encode_name for f in fields if f.type == Instant | UnsetType)


def path_of(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a path, with the slashes that were written as %2F."""
    return {
        name: value.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
        for name, value in params.items()
    }


__all__ = ["ClientDisconnect", "decode_body", "decode_query", "path_of", "read_body"]
