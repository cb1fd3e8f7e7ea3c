"""The tables and entries of the reference, read from the code they describe."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import click
from msgspec import Struct

from treadle import errors as errors_module
from treadle import hooks as hooks_module
from treadle.broker import base, values
from treadle.cli import main
from treadle.cli.failures import exit_code
from treadle.domain.state import TRANSITIONS, Reason, Shown, State
from treadle.errors import TreadleError
from treadle.settings import values as settings_module
from treadle.settings.loading import NAMES
from treadle.settings.sources import PLAIN_NAMES
from treadle.settings.values import UNSET, ScheduleSettings, Settings

_MEANINGS: Mapping[str, str] = {
    "payload_limit": "The largest payload that is accepted; at most 4 MiB.",
    "job.retries": "How often a failed job is tried again.",
    "worker.processes": "How many worker processes `qrun worker` supervises.",
    "log.level": "The least important lines that are still written.",
    "web.port": "The port of the HTTP interface.",
}


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _named(state: State | None) -> str:
    return "*absent*" if state is None else state.name.lower()


def transitions() -> str:
    """Return the table of the state machine, one row an event."""
    rows = (
        (
            _named(origin),
            f"`{event}`",
            ", ".join(map(_named, sorted(targets, key=lambda to: -1 if to is None else int(to)))),
        )
        for (origin, event), targets in TRANSITIONS.items()
    )
    return _table(("from", "event", "to"), rows)


_SHOWN: Mapping[Shown, str] = {
    Shown.SCHEDULED: "waiting, not due yet, has not failed",
    Shown.BLOCKED: "blocked: waits for other jobs, or for a free slot of its concurrency key",
    Shown.QUEUED: "waiting, due",
    Shown.RUNNING: "running",
    Shown.RETRYING: "waiting, not due yet, after a failure",
    Shown.SUCCEEDED: "succeeded",
    Shown.DEAD: "dead",
    Shown.CANCELLED: "cancelled",
}


def shown_states() -> str:
    """Return what people see, and which stored state it is a view of."""
    return _table(("shown as", "when the stored state is"), ((f"`{s}`", _SHOWN[s]) for s in Shown))


_REASONS: Mapping[Reason, str] = {
    Reason.EXHAUSTED: "dead: the last attempt failed",
    Reason.GIVEN_UP: "dead: the handler or a list of exceptions said that another attempt is no use",
    Reason.BAD_ARGUMENTS: "dead: the payload does not fit the handler; the error names the field",
    Reason.UNDECODABLE: "dead: the stored bytes are no record; they are kept as hex",
    Reason.BAD_ENVELOPE: "dead: the stored bytes are JSON of the wrong shape",
    Reason.UNSUPPORTED_VERSION: "waiting: written by a newer version; parked without end",
    Reason.UNKNOWN_TYPE: "waiting, then dead: nobody had a handler for ten minutes",
    Reason.QUARANTINED: "dead: three processes died of it, the last while it ran alone",
    Reason.LOST: "dead: ten stalls, or lost although it may run at most once",
    Reason.TIMEOUT: "dead: the last attempt ran into its time limit",
    Reason.INTERRUPTED: "dead: cut off by a stopping worker although it may run at most once",
    Reason.CANCELLED: "cancelled: somebody asked for it, or the handler did",
    Reason.EXPIRED: "cancelled: claimed after it was worth running",
    Reason.PARENT: "cancelled: a job that it waited for did not succeed",
}


def reasons() -> str:
    """Return the words under which dead and cancelled jobs are listed."""
    return _table(("reason", "what it says"), ((f"`{r}`", _REASONS[r]) for r in Reason))


def error_tree() -> str:
    """Return the tree of errors as drawn in the source."""
    drawn = (inspect.getdoc(errors_module) or "").partition("\n\n")[2]
    lines = [line for line in drawn.splitlines() if re.search(r"\|--|`--|\||TreadleError", line)]
    return "\n".join(["```text", *(line.removeprefix("    ") for line in lines), "```"])


def _error_kinds() -> list[type[TreadleError]]:
    found = [value for value in vars(errors_module).values() if inspect.isclass(value)]
    return [kind for kind in found if issubclass(kind, TreadleError)]


def error_entries() -> str:
    """Return one row an error: its code, its name, what it is a kind of, what it means."""
    rows = (
        (
            f"`{kind.code}`",
            f"`{kind.__name__}`",
            ", ".join(f"`{b.__name__}`" for b in kind.__bases__ if b is not Exception) or "-",
            _cell((inspect.getdoc(kind) or "").partition("\n\n")[0]),
            str(_exit_of(kind)),
        )
        for kind in _error_kinds()
    )
    return _table(("code", "error", "kind of", "meaning", "exit"), rows)


def _exit_of(kind: type[TreadleError]) -> int:
    return exit_code(kind.__new__(kind))


def settings() -> str:
    """Return one row a setting: its path, variable, default and meaning."""
    told, defaults = _told(), _defaults()
    rows = (
        (
            f"`{path}`",
            f"`{variable}`",
            f"`{defaults[path]}`" if defaults[path] else "-",
            _cell(told[path]),
        )
        for variable, path in NAMES.items()
    )
    return _table(("setting", "variable", "default", "meaning"), rows)


def _told() -> Mapping[str, str]:
    """Map each setting to what it means."""
    return {**_MEANINGS, **dict(_meanings(Settings))}


def _defaults() -> Mapping[str, str]:
    """Map each setting to its default as it is written; "" where there is none."""
    return {path: "" if shown == UNSET else shown for path, shown, _ in Settings().rows()}


def schedule_settings() -> str:
    """Return one row a field of a schedule: its path, default and meaning."""
    plain = ScheduleSettings(every=timedelta(minutes=1))
    given = {field: getattr(plain, field) for field in plain.__struct_fields__}
    rows = (
        (
            f"`schedules.NAME.{field}`",
            f"`{given[field]}`" if isinstance(given[field], str) else "-",
            _cell(meaning),
        )
        for field, meaning in _meanings(ScheduleSettings)
    )
    return _table(("setting", "default", "meaning"), rows)


def env_example() -> str:
    """Return a `.env` that changes nothing: every variable, with its default, in a comment."""
    told, defaults = _told(), _defaults()
    lines = [
        "# All settings of Treadle with their defaults. Copy this to .env, and uncomment what shall",
        "# differ. Lists are separated by commas, durations are 250ms, 30s, 1h30m.",
        "# Written by `python docs/generate.py`.",
    ]
    for variable, path in NAMES.items():
        meaning = " ".join(told[path].split())
        lines += ["", f"# {meaning}", f"#{variable}={defaults[path]}"]
    lines += ["", "# Names without our prefix, which rank below those above."]
    for variable, path in PLAIN_NAMES.items():
        # The default of the broker stands above; these two are for a broker that is none of the box.
        default = "" if path == "url" else defaults[path]
        lines.append(f"#{variable}={default}")
    lines += [
        "",
        "# A schedule beside those of the code: any name in the place of NIGHTLY.",
        "#QRUN_SCHEDULES_NIGHTLY_CRON=30 2 * * *",
        "#QRUN_SCHEDULES_NIGHTLY_TZ=Europe/Berlin",
        "#QRUN_SCHEDULES_NIGHTLY_TYPE=report.build",
        '#QRUN_SCHEDULES_NIGHTLY_PAYLOAD={"region": "eu"}',
    ]
    return "\n".join(lines) + "\n"


def _meanings(kind: type[Struct], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the text that stands below each field in the source."""
    source = ast.parse(Path(inspect.getfile(settings_module)).read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    yield from _fields(classes, kind.__name__, prefix)


def _fields(
    classes: Mapping[str, ast.ClassDef], name: str, prefix: str
) -> Iterator[tuple[str, str]]:
    body = classes[name].body
    for line, below in zip(body, [*body[1:], None], strict=True):
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        path, kind = prefix + line.target.id, ast.unparse(line.annotation)
        if kind in classes:
            yield from _fields(classes, kind, f"{path}.")
        elif isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield path, str(below.value.value)


def plain_names() -> str:
    """Return the names without prefix that are read as well."""
    rows = ((f"`{name}`", f"`{path}`") for name, path in PLAIN_NAMES.items())
    return _table(("variable", "setting"), rows)


def hooks() -> str:
    """Return one entry a hook: its signature and its promise."""
    found = [(n, v) for n, v in vars(hooks_module).items() if n.startswith("treadle_")]
    parts: list[str] = []
    for name, value in found:
        parts += [f"### `{name}`", "", "```text", _call(name, value), "```", ""]
        parts += [inspect.getdoc(value) or "", ""]
    return "\n".join(parts)


def _signature(function: Callable[..., object]) -> str:
    text = str(inspect.signature(function)).replace("'", "")
    return text.replace("(self, ", "(").replace("(self)", "()")


def _call(name: str, function: Callable[..., object]) -> str:
    kind = "await " if inspect.iscoroutinefunction(function) else ""
    return f"{kind}{name}{_signature(function)}"


def commands() -> str:
    """Return one entry a command of `qrun`: how it is called, and its options."""
    return "\n".join(_entries(main, click.Context(main, info_name="qrun", **main.context_settings)))


def _entries(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    yield f"{'##' if context.parent is None else '###'} `{path}`\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{path} {usage}\n```\n"
    about = command.help or command.short_help or ""
    yield inspect.cleandoc(about).replace("\b\n", "") + "\n"
    records = [p.get_help_record(context) for p in command.params if not _is_hidden(p)]
    rows = [
        (f"`{names}`".replace("|", "\\|"), _cell(told))
        for names, told in filter(None, records)
        if told  # an argument without one stands in the usage line
    ]
    if rows:
        yield _table(("option", "meaning"), iter(rows)) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            if member is not None and not member.hidden:
                yield from _entries(member, click.Context(member, info_name=name, parent=context))


def _is_hidden(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and parameter.hidden


def broker() -> str:
    """Return one entry an operation of the protocol: its signature and its promise."""
    parts: list[str] = []
    for name, member in vars(base.Broker).items():
        if name.startswith("_") or not inspect.isfunction(member):
            continue
        parts += [f"### `{name}`", "", "```text", _call(name, member), "```", ""]
        parts += [_prose(inspect.getdoc(member) or ""), ""]
    return "\n".join(parts)


def _prose(text: str) -> str:
    """Turn the `Raises:` block of a docstring into a list."""
    head, _, raises = text.partition("Raises:\n")
    items = re.sub(r"(?m)^    (\w+(?:, \w+)*): ", r"- `\1`: ", raises)
    items = re.sub(r"(?m)^        ", "  ", items)
    return f"{head.rstrip()}\n\nRaises:\n\n{items}" if raises else head


def capabilities() -> str:
    """Return the extras that a broker may name."""
    source = ast.parse(Path(inspect.getfile(values)).read_text(encoding="utf-8"))
    body = next(
        n for n in source.body if isinstance(n, ast.ClassDef) and n.name == "Capability"
    ).body
    rows = (
        (f"`{line.value.value!s}`", _cell(str(below.value.value)))
        for line, below in pairwise(body)
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    )
    return _table(("capability", "meaning"), rows)


__all__ = [
    "broker",
    "capabilities",
    "commands",
    "env_example",
    "error_entries",
    "error_tree",
    "hooks",
    "plain_names",
    "reasons",
    "schedule_settings",
    "settings",
    "shown_states",
    "transitions",
]
