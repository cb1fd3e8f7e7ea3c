"""Draw the state machine from its table, as a picture that loads nothing from elsewhere.

The table says which arrows there are and what they are called; this file only says where each
one lies. An arrow of the table that has no place here is an error, and so is a place without an arrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from treadle.domain.state import FINAL, TRANSITIONS, State

End = State | str | None
Arrow = tuple[End, End]

_WIDTH, _HEIGHT = 1020, 590
_BOX_W, _BOX_H = 128, 48
_FINAL = "final"
"""The frame around the final states: an arrow that all of them share starts there."""

_CENTRES: Mapping[State, tuple[int, int]] = {
    State.WAITING: (280, 150),
    State.BLOCKED: (280, 420),
    State.RUNNING: (560, 150),
    State.SUCCEEDED: (890, 110),
    State.DEAD: (890, 260),
    State.CANCELLED: (890, 420),
}
_COLOURS: Mapping[State, str] = {
    State.WAITING: "#dbeafe",
    State.BLOCKED: "#e5e7eb",
    State.RUNNING: "#fef3c7",
    State.SUCCEEDED: "#dcfce7",
    State.DEAD: "#fee2e2",
    State.CANCELLED: "#f3e8ff",
}

# Path of each arrow, and where its first label line stands.
_PLACES: Mapping[Arrow, tuple[str, int, int]] = {
    (None, State.WAITING): ("M 72 270 C 110 200, 150 160, 212 151", 92, 172),
    (None, State.BLOCKED): ("M 72 290 C 110 360, 150 410, 212 419", 168, 356),
    (State.WAITING, State.RUNNING): ("M 346 138 L 492 138", 420, 130),
    (State.RUNNING, State.WAITING): ("M 492 162 L 348 162", 420, 182),
    (State.WAITING, State.BLOCKED): ("M 262 176 L 262 392", 222, 300),
    (State.BLOCKED, State.WAITING): ("M 300 394 L 300 178", 340, 300),
    (State.WAITING, State.WAITING): ("M 250 124 C 230 70, 310 70, 296 122", 272, 76),
    (State.BLOCKED, State.BLOCKED): ("M 250 446 C 230 500, 310 500, 296 448", 272, 508),
    (State.RUNNING, State.RUNNING): ("M 530 124 C 510 70, 590 70, 576 122", 552, 76),
    (State.WAITING, State.CANCELLED): ("M 320 176 C 380 330, 600 400, 822 408", 480, 380),
    (State.BLOCKED, State.CANCELLED): ("M 346 430 L 822 430", 560, 448),
    (State.RUNNING, State.SUCCEEDED): ("M 626 140 L 822 114", 712, 112),
    (State.RUNNING, State.DEAD): ("M 626 162 C 690 190, 750 230, 822 254", 756, 172),
    (State.RUNNING, State.CANCELLED): ("M 590 176 C 630 290, 700 370, 822 396", 546, 240),
    (_FINAL, State.WAITING): ("M 806 60 C 640 6, 400 6, 330 122", 560, 24),
    (_FINAL, None): ("M 806 500 C 620 600, 90 620, 62 302", 470, 560),
}


def arrows() -> dict[Arrow, list[str]]:
    """Gather the table's events by arrow; what all final states share starts at their frame."""
    found: dict[Arrow, list[str]] = {}
    for (origin, event), targets in TRANSITIONS.items():
        shared = all(TRANSITIONS.get((state, event)) == targets for state in FINAL)
        start: End = _FINAL if origin in FINAL and shared else origin
        for target in sorted(targets, key=lambda state: -1 if state is None else int(state)):
            names = found.setdefault((start, target), [])
            if event.value not in names:
                names.append(event.value)
    return found


def draw() -> str:
    """Return the diagram as SVG.

    Raises:
        ValueError: if the table has an arrow without a place here, or the other way round.
    """
    found = arrows()
    if set(found) != set(_PLACES):
        raise ValueError(
            f"docs/diagram.py: places differ from the table: {set(found) ^ set(_PLACES)}"
        )
    parts = [_HEAD, _frame()]
    for arrow, (path, x, y) in _PLACES.items():
        parts.append(f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>')
        parts.append(_label(found[arrow], x, y))
    parts += ['<circle cx="60" cy="280" r="12" fill="#374151"/>']
    parts += [_box(state, x, y) for state, (x, y) in _CENTRES.items()]
    return "\n".join([*parts, "</svg>", ""])


def _frame() -> str:
    return (
        '<rect x="806" y="50" width="168" height="460" rx="14" fill="none" stroke="#9ca3af"'
        ' stroke-dasharray="5 4"/>\n<text class="small" x="890" y="72">final</text>'
    )


def _box(state: State, x: int, y: int) -> str:
    left, top = x - _BOX_W // 2, y - _BOX_H // 2
    return (
        f'<rect x="{left}" y="{top}" width="{_BOX_W}" height="{_BOX_H}" rx="10"'
        f' fill="{_COLOURS[state]}" stroke="#374151"/>\n'
        f'<text class="state" x="{x}" y="{y + 6}">{escape(state.name.lower())}</text>'
    )


def _label(names: list[str], x: int, y: int) -> str:
    lines = [", ".join(names[at : at + 2]) for at in range(0, len(names), 2)]
    spans = "".join(
        f'<tspan x="{x}" y="{y + 15 * number}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text class="small">{spans}</text>'


_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">
<title>The stored states of a job and the events that lead from one to another</title>
<style>
text {{ font-family: system-ui, sans-serif; text-anchor: middle; fill: #111827; }}
.state {{ font-size: 17px; font-weight: 600; }}
.small {{ font-size: 12.5px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }}
.arrow {{ fill: none; stroke: #6b7280; stroke-width: 1.6; }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="#6b7280"/></marker></defs>
<rect width="{_WIDTH}" height="{_HEIGHT}" rx="16" fill="#ffffff"/>"""
