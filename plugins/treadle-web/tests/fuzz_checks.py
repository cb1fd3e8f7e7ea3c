"""What schemathesis loads besides: valid requests are accepted, but for what no schema can tell.

It is the check `positive_data_acceptance` with these exceptions. A cursor goes on with one listing,
and fits no other; of `delay` and `run_at` one can be given; `on_conflict` needs `unique`; an ETag is
that of a moment, and an idempotency key is of one request. The tool also sends If-Match without the
quotes that its pattern asks for.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

schemathesis: Any = import_module(
    "schemathesis"
)  # a tool of tests only: types are checked without it
checks: Any = import_module("schemathesis.specs.openapi.checks")

ETAG = re.compile(r'\*|"\d{1,19}"')
POINTED = "Expected `int`, got `float`"
"""631.0 is an integer to JSON Schema, and none to whoever reads JSON by its types."""
NOT_TOLD = re.compile(r"\$query\.cursor|\$\.cursor|\$(\.jobs\[\d+\])?\.(run_at|on_conflict)")
"""The paths of problems that follow from two fields together, or from what was asked before."""


def accepted_but_for_what_no_schema_tells(ctx: Any, response: Any, case: Any) -> bool | None:
    """Refuse that a valid request is refused."""
    try:
        found: bool | None = checks.positive_data_acceptance(ctx, response, case)
    except Exception:
        if response.status_code == 412 or _is_excused(response):
            return None
        raise
    return found


schemathesis.check(accepted_but_for_what_no_schema_tells)


def _is_excused(response: Any) -> bool:
    if response.status_code != 422:
        return False
    problem = json.loads(response.content)
    path = str(problem.get("path", ""))
    if problem["code"] == "idempotency_key_reused" or problem["detail"] == POINTED:
        return True
    if path == "$header.If-Match":
        return ETAG.fullmatch(response.request.headers["If-Match"]) is None
    if path == "$query.since":  # of events it is a cursor, elsewhere an instant
        return str(response.request.url).partition("?")[0].endswith("/events")
    return NOT_TOLD.fullmatch(path) is not None
