"""The driver's client, mended where it would speak in the clear, or be deaf for ever.

It encrypts if the server demands it, and else goes on in the clear, whatever the URL says: a server without
TLS, or whoever stands between and leaves that word out, would be told the password and every job. And it
tries again only after errors that it knows: any other one, as from a file of credentials that is just being
replaced, ends its last try to connect again, and nobody hears of it.
"""

from __future__ import annotations

from typing import Any

from nats import errors
from nats.aio.client import Client

from treadle.errors import BrokerUnavailable

_IN_THE_CLEAR = "tls:// asks for an encrypted connection, and the server offers none"


class NotConnected(errors.Error):
    """One try to connect failed; its cause says why."""


class Driver(Client):
    """A client that tries again whatever happened, and encrypts before it says anything if it should."""

    # No public place is between the first line of a connection and the answer to it.

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException as error:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call] # the next try leaves it open
            if isinstance(error, errors.Error | OSError) or not isinstance(error, Exception):
                raise
            raise NotConnected(str(error)) from error

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self.options.get("tls") is not None:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise BrokerUnavailable(_IN_THE_CLEAR)
            info["tls_required"] = True
        await super()._process_info(info, initial_connection=initial_connection)
