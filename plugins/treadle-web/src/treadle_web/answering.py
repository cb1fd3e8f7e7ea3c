"""How an answer is sent: its head and its content as two messages, right after each other."""

from __future__ import annotations

from typing import Final

from starlette.types import Send

from treadle_web.operation import Reply

AT_ONCE: Final = "treadle.at_once"
"""The message that starts an answer has it if all of the content comes next: both can go in one piece."""
Headers = list[tuple[bytes, bytes]]

_NO_CONTENT: Final = (204, 304)


def head_of(answer: Reply) -> Headers:
    """Return the headers of an answer."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.headers.items()
    ]
    if answer.content or answer.parts is not None:
        headers.append((b"content-type", answer.media_type.encode("latin-1")))
    if answer.parts is None and answer.status not in _NO_CONTENT:
        headers.append((b"content-length", b"%d" % len(answer.content)))
    return headers


async def tell(answer: Reply, send: Send) -> None:
    """Send an answer whose content is known."""
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": head_of(answer),
            AT_ONCE: True,
        }
    )
    await send({"type": "http.response.body", "body": answer.content})
