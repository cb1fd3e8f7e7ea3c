"""The specification, generated: it holds what the table of operations holds, no more and no less."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, cast

import msgspec
from msgspec import NODEFAULT, Struct

from treadle.domain.limits import JOB_ID
from treadle_web.fenced import HEADER as IF_MATCH
from treadle_web.idempotency import HEADER as IDEMPOTENCY_KEY
from treadle_web.operation import Operation
from treadle_web.problems import MEDIA_TYPE, Problem
from treadle_web.requests import LAST_EVENT_ID

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_EVERYWHERE: Final = (401, 403, 421, 422, 429, 431, 503)
_WITH_BODY: Final = (400, 408, 413, 415)
_PATHS: Final = {
    "id": ("The id of a job; write a slash in it as %2F.", f"^{JOB_ID.pattern}$"),
    "fingerprint": ("What the dead letters of a group died of.", r"^[A-Za-z0-9_.\-]{1,64}$"),
    "queue": ("The name of a queue.", r"^[A-Za-z0-9_.\-]{1,128}$"),
    "name": ("The name of a schedule.", r"^[A-Za-z0-9_.\-]{1,96}$"),
}
_HEADERS: Final = {
    IF_MATCH: (
        "The ETag of the job as you saw it: act on that, or not at all.",
        r'^(\*|"\d{1,19}")$',
    ),
    IDEMPOTENCY_KEY: (
        "Sent again, the same request is answered as the first time, and stores nothing.",
        r"^[!-~]{1,255}$",
    ),
    LAST_EVENT_ID: (
        "The id of the last event that arrived: the stream goes on behind it.",
        r"^\d{1,18}$",
    ),
}


def specification(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of some operations; where they are served is left out."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _entry(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Treadle",
            "version": version("treadle-web"),
            "description": "Jobs, queues, dead letters and schedules of one Treadle store.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The JSON Schemas of every type that an operation names."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        named = [kind for one in operations for kind in (one.body, one.answer) if kind is not None]
        kinds = list(dict.fromkeys([*named, Problem]))
        found, components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._by_kind = dict(zip(kinds, found, strict=True))
        self.components = components

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a body or an answer."""
        found: dict[str, Any] = self._by_kind[kind]
        return found

    def fields(self, kind: type[Struct]) -> list[tuple[str, dict[str, Any], bool]]:
        """Return name, schema and whether it must be there of each query parameter."""
        if not kind.__struct_fields__:
            return []
        (_,), components = msgspec.json.schema_components([kind], ref_template=_REF)
        own = cast("dict[str, Any]", components.pop(kind.__name__))
        self.components = {**components, **self.components}
        required = {
            field.name
            for field in msgspec.structs.fields(kind)
            if field.default is NODEFAULT and field.default_factory is NODEFAULT
        }
        return [(name, schema, name in required) for name, schema in own["properties"].items()]


def _entry(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag(operation.path)],
        "parameters": [*_parameters(operation, schemas)],
        "responses": _responses(operation, schemas),
    }
    if operation.scope is not None:
        entry["security"] = [{"token": []}, {}]
        entry["description"] = f"Needs a token with the scope `{operation.scope.value}`."
    if operation.body is not None:
        entry["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": schemas.of(operation.body)}},
        }
    return entry


def _tag(path: str) -> str:
    return path.split("/")[3] if path.startswith("/api/") else "server"


def _parameters(operation: Operation, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        text, pattern = _PATHS[name]
        schema = {"type": "string", "pattern": pattern}
        yield {"name": name, "in": "path", "required": True, "description": text, "schema": schema}
    for name, schema, required in schemas.fields(operation.query):
        own = dict(schema)
        said = own.pop("description", None)
        row = {"name": name, "in": "query", "required": required, "schema": own}
        yield row if said is None else {**row, "description": said}
    for name in operation.headers:
        text, pattern = _HEADERS[name]
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": text,
            "schema": {"type": "string", "pattern": pattern},
        }


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in operation.status:
        row: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if operation.answer is not None:
            row["content"] = {operation.media_type: {"schema": schemas.of(operation.answer)}}
        elif operation.media_type != "application/json":
            # Of a stream a schema would tell each event.
            streams = operation.media_type == "text/event-stream"
            row["content"] = {
                operation.media_type: {} if streams else {"schema": {"type": "string"}}
            }
        found[str(status)] = row
    body = _WITH_BODY if operation.body is not None else (413,)
    for status in sorted({*_EVERYWHERE, *body, *operation.problems}):
        content = {MEDIA_TYPE: {"schema": schemas.of(Problem)}}
        row = {"description": HTTPStatus(status).phrase, "content": content}
        if status in (429, 503, 507):
            row["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        found[str(status)] = row
    return found
