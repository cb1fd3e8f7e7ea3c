"""The connection to the server: made, watched, asked; every error in our words.

Requests are answered, or fail within their time. Nothing is sent while the connection is down, so that what
is told to have had no effect is not sent later out of a buffer.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from nats import errors
from nats.aio.msg import Msg

from treadle.errors import BrokerRefused, BrokerUnavailable, TreadleError
from treadle_nats import creds
from treadle_nats.address import Address
from treadle_nats.driver import Driver, NotConnected

OLDEST: Final = (2, 14, 5)
_NOT_LET_IN: Final = "the server refuses user, password or token"
_ROOM_FOR_HEADERS: Final = 4 * 1024
_RECONNECT_S: Final = 0.25
_DENIALS: Final = 20
_ATTEMPT_S: Final = 2.0
"""How long one request waits before it is sent again."""


class Refusal(Exception):
    """JetStream answered a request with an error."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description


class NotSent(BrokerUnavailable):
    """The connection is down: the request was never sent."""


class Link:
    """One connection; it belongs to the loop that made it."""

    def __init__(self, address: Address, on_return: Callable[[], object]) -> None:
        self.address = address
        self._client = Driver()
        self._on_return = on_return
        self._trouble = ""
        """What the driver said last; a request that is answered clears it."""
        self._denials: deque[str] = deque(maxlen=_DENIALS)
        """What the user of this connection may not do, as the server said it."""
        self._hopeless = asyncio.Event()
        self._failures = 0
        self._cause: TreadleError | None = None
        """Why we do not connect, however often it is tried."""

    @property
    def client(self) -> Driver:
        """Return the driver's own connection."""
        return self._client

    @property
    def is_up(self) -> bool:
        """Tell whether requests can be sent now."""
        return self._client.is_connected

    @property
    def is_over(self) -> bool:
        """Tell whether the driver has given up; a new link must be made."""
        return self._client.is_closed

    @property
    def most_bytes(self) -> int:
        """Return how many bytes of data a message may carry."""
        return self._client.max_payload - _ROOM_FOR_HEADERS

    @property
    def version(self) -> str:
        """Return the version of the server."""
        return str(self._client._server_info.get("version", ""))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # the public property cuts it

    async def connect(self) -> None:
        """Connect, and refuse a server that cannot do what is needed.

        Raises:
            BrokerUnavailable: if no server answers, or none lets us in.
            BrokerRefused: if the server is too old, or takes no messages to speak of.
            ConfigurationError: if the files that the URL names cannot be used.
        """
        connecting = asyncio.ensure_future(self._connect())
        hopeless = asyncio.ensure_future(self._hopeless.wait())
        limit = self.address.timeout_ms / 1_000
        try:
            await asyncio.wait(
                {connecting, hopeless}, timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            if self._cause is not None and not self._client.is_connected:
                raise self._cause
            if not connecting.done() or connecting.exception() is not None:
                error = connecting.exception() if connecting.done() else None
                if isinstance(error, TreadleError):
                    raise error
                if error is not None:
                    self._trouble = told(error)
                raise BrokerUnavailable(
                    f"cannot connect to {self.address.shown}:"
                    f" {self._trouble or f'no answer within {limit:g} s'}"
                )
        finally:
            for task in (connecting, hopeless):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self._refuse_unfit()

    async def _connect(self) -> None:
        address = self.address
        login: dict[str, Any] = creds.login(address.creds) if address.creds else {}
        if address.username:
            login |= {"user": address.username, "password": address.password}
        elif address.token:
            login |= {"token": address.token}
        await self._client.connect(
            servers=list(address.servers),
            name=f"treadle {address.namespace}",
            tls=address.tls_context(),
            connect_timeout=max(1, address.timeout_ms // 1_000),
            reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] # any number of seconds
            max_reconnect_attempts=-1,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnect,
            **login,
        )

    async def _on_error(self, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, NotConnected) else error
        self._trouble = told(cause)
        if isinstance(cause, TreadleError) and not self._client.is_reconnecting:
            self._cause = type(cause)(f"cannot connect to {self.address.shown}: {cause}")
            self._hopeless.set()
        if "permissions violation" in self._trouble:
            self._denials.append(self._trouble)
        self._failures += 1
        if self._trouble == _NOT_LET_IN or (
            not self._client.is_connected
            and not self._client.is_reconnecting
            and self._failures >= len(self.address.servers) * _tries(error)
        ):
            self._hopeless.set()

    def denied(self, subject: str) -> str:
        """Return how the server said that the user may not use this subject; "" if it did not."""
        return next((said for said in self._denials if subject.lower() in said), "")

    async def _on_reconnect(self) -> None:
        self._trouble = ""
        self._denials.clear()  # the server may have other rules by now
        self._on_return()

    def _refuse_unfit(self) -> None:
        found = tuple(
            int(part) for part in self.version.split("-")[0].split(".") if part.isdecimal()
        )
        if found < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise BrokerRefused(
                f"{self.address.shown}: nats-server {self.version} is too old, {needed} is needed"
            )
        if self.most_bytes < _ROOM_FOR_HEADERS:
            raise BrokerRefused(
                f"{self.address.shown}: the server takes messages of {self._client.max_payload} bytes"
                f" (max_payload), {2 * _ROOM_FOR_HEADERS} are needed"
            )

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with suppress(Exception):
            async with asyncio.timeout(_ATTEMPT_S):
                await self._client.close()

    async def request(
        self,
        subject: str,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        seconds: float = _ATTEMPT_S,
    ) -> Msg:
        """Send one request and return its answer.

        Raises:
            NotSent: if it was not sent.
            BrokerUnavailable: if no answer came in time.
            Refusal: if nobody is there to answer (code 503).
        """
        if not self._client.is_connected:
            raise NotSent(
                f"not connected to {self.address.shown}: {self._trouble or 'reconnecting'}"
            )
        try:
            answer = await self._client.request(subject, body, timeout=seconds, headers=headers)
        except errors.NoRespondersError as error:
            raise Refusal(503, "nobody answers") from error
        except (errors.Error, OSError, TimeoutError) as error:
            trouble = self._trouble or told(error)
            raise BrokerUnavailable(f"{self.address.shown} did not answer: {trouble}") from error
        self._trouble = ""
        return answer

    async def api(self, name: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask JetStream for something.

        Raises:
            Refusal: if it answers with an error.
            BrokerUnavailable: if it does not answer.
        """
        data = b"" if body is None else json.dumps(body).encode()
        limit = self.address.timeout_ms / 1_000
        message = await self.request(f"{self.address.api}.{name}", data, seconds=limit)
        return checked(message.data)


def _tries(error: Exception) -> int:
    """Return how often each server is tried: one that hangs up may yet say why."""
    return 1 if isinstance(error, ConnectionRefusedError) else 3


def checked(data: bytes) -> dict[str, Any]:
    """Read an answer of JetStream.

    Raises:
        Refusal: if it is an error.
    """
    answer: dict[str, Any] = json.loads(data) if data else {}
    error = answer.get("error")
    if error is not None:
        code = int(error.get("err_code") or error.get("code") or 0)
        raise Refusal(code, str(error.get("description", "")))
    return answer


def told(error: BaseException | None) -> str:
    """Say what the driver says, in one line."""
    if isinstance(error, TreadleError):
        return str(error)
    if (
        isinstance(error, errors.AuthorizationError)
        or "authorization violation" in str(error).lower()
    ):
        return _NOT_LET_IN
    if isinstance(error, ConnectionResetError | BrokenPipeError | errors.UnexpectedEOF):
        return (
            "the server hung up: are user and password right, does it speak TLS, and does it want a"
            " certificate?"
        )
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].removeprefix("nats: ")


def ours(error: Exception) -> TreadleError:
    """Return an error of our own, for one caller alone: tracebacks grow on those that are raised."""
    if isinstance(error, TreadleError):
        return type(error)(*error.args)
    return BrokerUnavailable(told(error))
