"""From what msgspec says about a payload to a sentence that names the argument."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from treadle.domain.limits import TooDeep

_AT = re.compile(r" - at `(?P<path>\$.*)`$")
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`(?:, got `(?P<got>[^`]*)`)?(?P<bound>.*)")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")


def sentence(error: Exception, names: Sequence[str], text: bytes) -> tuple[str, str]:
    """Return what is wrong with a payload, as a clause, and the JSON path of the place.

    `names` are the arguments that the handler has, `text` is the payload.
    """
    if isinstance(error, TooDeep | RecursionError):
        return "the payload is nested too deep (at most 64 levels)", "$"
    if isinstance(error, UnicodeDecodeError):
        return "the payload is not UTF-8", "$"
    said = str(error)
    at = _AT.search(said)
    path = at["path"] if at else "$"
    said = said[: at.start()] if at else said
    if found := _MISSING.fullmatch(said):
        return _missing(found["name"], path)
    if found := _UNKNOWN.fullmatch(said):
        return _unknown(found["name"], path, names)
    if found := _EXPECTED.fullmatch(said):
        return _expected(found, path)
    if at:
        return f"{_subject(path)}: {said[:1].lower()}{said[1:]} (at {path})", path
    if b"\\ud" in text or b"\\uD" in text:
        said += "; perhaps a lone surrogate, which is no text"
    return f"the payload is no JSON that can be read: {said}", "$"


def _expected(found: re.Match[str], path: str) -> tuple[str, str]:
    wanted = found["wanted"].replace(" | ", " or ").replace("null", "None") + found["bound"]
    got = f", got {found['got']}".replace("null", "None") if found["got"] else ""
    if path == "$":
        return f"the payload must be a JSON {wanted}{got}", path
    return f"{_subject(path)} must be {wanted}{got} (at {path})", path


def _missing(name: str, path: str) -> tuple[str, str]:
    path = f"{path}.{name}"
    return f"{_subject(path)} is missing (at {path})", path


def _unknown(name: str, path: str, names: Sequence[str]) -> tuple[str, str]:
    path = f"{path}.{name}"
    if path.count(".") > 1:
        return f"{_subject(path)} is an unknown field (at {path})", path
    close = difflib.get_close_matches(name, names, 1)
    listed = ", ".join(names) if names else "none"
    hint = f"Did you mean {close[0]!r}?" if close else f"It has: {listed}."
    return f"{name!r} is not an argument (at {path}). {hint}", path


def _subject(path: str) -> str:
    """Name what stands at a path: the argument, or the place inside it."""
    return repr(path.removeprefix("$").removeprefix("."))
