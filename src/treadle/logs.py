"""The logs of a process that Treadle owns: set up once by the command, never by the library.

The library logs through `logging` alone: the event name is the message, the fields stand in
`extra`. Here structlog renders those records (and everybody else's) as console lines, JSON or
logfmt. Whatever comes out is safe to read: what a job brought along cannot start a new line, move
the cursor or turn the reading direction, and the user and password of a URL are masked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

import msgspec
from msgspec import Struct

from treadle.broker.url import masked
from treadle.settings import LogFormat, LogLevel, redacted_fields

if TYPE_CHECKING:
    from structlog.typing import Processor

Fields = MutableMapping[str, Any]
"""What structlog passes along: the fields of one line."""


_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_BREAKS = "\u2028\u2029\ufeff"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


class Style(Struct, frozen=True, kw_only=True):
    """How a process writes its logs: what a child of it needs to know to write its own alike."""

    format: LogFormat
    level: LogLevel
    redact: tuple[str, ...] = ()


_style: Style | None = None


def style() -> Style | None:
    """Return how this process writes its logs; None if nobody called `configure`."""
    return _style


def _escapes() -> dict[int, str]:
    control = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
    table = {ord(char): f"\\x{ord(char):02x}" for char in control}
    table |= {ord(char): f"\\u{ord(char):04x}" for char in _BIDI + _BREAKS}
    table |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
    return table | {ord(char): short for char, short in _SHORT.items()}


_ESCAPES = _escapes()
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in _ESCAPES}


def escape(text: str) -> str:
    """Make text from elsewhere fit for one line of a terminal or a text log.

    Control characters (so newlines and ANSI sequences), bidi marks, line separators and lone
    surrogates are written as escapes.
    """
    return text.translate(_ESCAPES)


def escape_json(text: str) -> str:
    """Do the same to JSON text of one line: it stays the same JSON."""
    return text.translate(_JSON_ESCAPES)


class MaskUrls(logging.Filter):
    """Mask user and password of every URL in a record, also those in its exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, masked."""
        message = record.getMessage()
        if "://" in message:
            record.msg, record.args = masked(message), None
        for name, value in vars(record).items():
            if isinstance(value, str) and "://" in value:
                setattr(record, name, masked(value))
        return True


class NameJob(logging.Filter):
    """Add the job to every record that something in an attempt writes, unless it names one itself."""

    def __init__(self, about: Callable[[], Mapping[str, object]]) -> None:
        super().__init__()
        self._about = about

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with the fields that it lacks."""
        own = vars(record)
        if "job_id" not in own:
            for name, value in self._about().items():
                own.setdefault(name, value)
        return True


def chosen_format(wanted: LogFormat | None, stream: TextIO) -> LogFormat:
    """Return the format that was asked for; else console on a terminal, JSON elsewhere."""
    if wanted is not None:
        return wanted
    return LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON


def configure(
    *,
    format: LogFormat | None = None,
    level: LogLevel = LogLevel.INFO,
    stream: TextIO | None = None,
    redact: Sequence[str] = (),
    about: Callable[[], Mapping[str, object]] | None = None,
) -> LogFormat:
    """Send every log record of this process to `stream` (stderr), in one format.

    Fields whose paths fit `redact` are not shown. `about` is asked for the fields of the job that
    runs where a record is written. Replaces the handlers of the root logger, so
    calling it again changes the format.
    """
    global _style  # noqa: PLW0603 - there is one root logger in a process
    out = sys.stderr if stream is None else stream
    chosen = chosen_format(format, out)
    _style = Style(format=chosen, level=level, redact=tuple(redact))
    handler = logging.StreamHandler(out)
    if about is not None:
        handler.addFilter(NameJob(about))
    handler.addFilter(MaskUrls())
    handler.setFormatter(_formatter(chosen, colors=out.isatty(), redact=redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    return chosen


def _formatter(chosen: LogFormat, *, colors: bool, redact: Sequence[str]) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - slow, and only a process that logs needs it

    fields: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _stamp,
    ]
    first: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    first += [structlog.processors.format_exc_info, _mask_fields]
    if redact:
        first.append(partial(_hide_fields, redact))
    last: list[Processor]
    match chosen:
        case LogFormat.JSON:
            last = [_json]
        case LogFormat.LOGFMT:
            order = ["timestamp", "level", "logger", "event"]
            last = [_plain_fields, structlog.processors.LogfmtRenderer(key_order=order)]
        case LogFormat.CONSOLE:
            from structlog.dev import ConsoleRenderer  # noqa: PLC0415 - may load rich

            renderer = ConsoleRenderer(colors=colors, pad_event_to=20)
            last = [_plain_fields, _indent_exception, renderer]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=fields, processors=[*first, *last])


def _stamp(_logger: object, _name: str, fields: Fields) -> Fields:
    record = fields.get("_record")
    if isinstance(record, logging.LogRecord):
        stamp = datetime.fromtimestamp(record.created, UTC)
        fields["timestamp"] = stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields.pop("color_message", None)  # uvicorn says everything twice
    return fields


def _mask_fields(_logger: object, _name: str, fields: Fields) -> Fields:
    for key, value in fields.items():
        if isinstance(value, str) and "://" in value:
            fields[key] = masked(value)
    return fields


def _hide_fields(redact: Sequence[str], _logger: object, _name: str, fields: Fields) -> Fields:
    return dict(redacted_fields(fields, redact))


def _plain_fields(_logger: object, _name: str, fields: Fields) -> Fields:
    """Escape every value for a text format; an exception keeps its lines."""
    plain: Fields = {}
    for key, value in fields.items():
        text = value if isinstance(value, str) else _text(value)
        if key == "exception":
            plain[key] = "\n".join(escape(line) for line in text.split("\n"))
        else:
            plain[_key(key)] = escape(text)
    return plain


def _indent_exception(_logger: object, _name: str, fields: Fields) -> Fields:
    """Set an exception off from the lines of the log, so that it cannot pose as one."""
    text = fields.get("exception")
    if text:
        fields["exception"] = "\n".join(f"    | {line}" for line in str(text).split("\n"))
    return fields


_NESTED = (dict, list, tuple)


def _key(name: str) -> str:
    return escape(name).replace(" ", "_").replace("=", "_")


def _text(value: object) -> str:
    return _encode(cast("object", value)) if isinstance(value, _NESTED) else str(value)


def _encode(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()


def _json(_logger: object, _name: str, fields: Fields) -> str:
    leading = ("timestamp", "level", "logger", "event")
    ordered = {key: fields[key] for key in leading if key in fields} | dict(fields)
    try:
        return escape_json(_encode(ordered))
    except (UnicodeEncodeError, TypeError, ValueError):
        safe = {escape(key): escape(str(value)) for key, value in ordered.items()}
        return escape_json(_encode(safe))
