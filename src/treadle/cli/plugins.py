"""`qrun plugins`: what is installed, what of it is loaded, and the line that enables the rest."""

from __future__ import annotations

from treadle.cli.call import Call, command
from treadle.plugins import Plugins


@command("plugins", reads=True)
def plugins(call: Call) -> None:
    """List plugins with version, hooks and origin; those not loaded too, with the reason."""
    found = Plugins.of(call.settings()).installed()
    if call.output.as_json:
        call.output.objects(found)
        return
    rows = [
        [
            info.name,
            info.group,
            f"{info.distribution} {info.version}",
            info.status.value,
            ", ".join(info.hooks),
            info.origin,
            info.detail,
        ]
        for info in found
    ]
    columns = ("name", "group", "distribution", "status", "hooks", "origin", "detail")
    call.output.table(columns, rows)
