"""`qrun config`: every setting and its origin."""

from __future__ import annotations

from treadle.cli.call import Call, command
from treadle.settings import NAMES, UNSET, variable_of


@command("config", reads=True)
def config(call: Call) -> None:
    """Print every setting, its value and where that comes from; secrets are masked."""
    variables = {path: name for name, path in NAMES.items()}
    rows = list(call.settings().rows())
    if call.output.as_json:
        call.output.objects(
            {
                "name": path,
                "value": None if value == UNSET else value,
                "origin": origin,
                "variable": variables.get(path) or variable_of(path),
            }
            for path, value, origin in rows
        )
        return
    call.output.table(("name", "value", "origin"), rows)
