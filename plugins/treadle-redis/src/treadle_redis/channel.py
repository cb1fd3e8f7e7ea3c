"""One connection of redis-py: opened as the URL says, and asked what the server behind it is."""

from __future__ import annotations

from typing import Any, cast

from msgspec import Struct
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError

from treadle_redis import forks
from treadle_redis.address import Address, Login, Place
from treadle_redis.trouble import NotReached

Channel = Connection | SSLConnection


class Greeting(Struct, frozen=True):
    """What a server says of itself to every user."""

    is_clustered: bool
    is_primary: bool


class Reached(Struct, frozen=True):
    """An open connection, and what it leads to."""

    channel: Channel
    place: Place
    is_clustered: bool


async def opened(address: Address, place: Place, login: Login, database: int = 0) -> Channel:
    """Open a connection; what the URL says about passwords and TLS is read again."""
    try:
        arguments: dict[str, Any] = {
            **login.arguments(),
            "host": place.host,
            "port": place.port,
            "db": database,
            "socket_connect_timeout": address.timeout_s,
            "socket_timeout": None,  # a deadline of ours stands around each call
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        context = address.tls_context() if address.tls else None
    except (OSError, ValueError) as error:
        raise NotReached(f"{address.shown}: cannot use a file of the URL: {error}") from error
    channel: Channel
    if context is None:
        channel = Connection(**arguments)
    else:
        channel = SSLConnection(**arguments)
        channel.ssl_context.context = context
    forks.watch(channel)
    try:
        await channel.connect()  # type: ignore[no-untyped-call] # redis-py leaves it so
    except BaseException:
        await channel.disconnect(nowait=True)
        raise
    return channel


async def asked(channel: Channel, *command: str) -> Any:
    """Send a command on a connection that nobody else uses yet, and return its reply."""
    await channel.send_command(*command)
    return cast("Any", await channel.read_response())


async def greeted(channel: Channel) -> Greeting:
    """Ask a server what it is, with what every user may ask, unlike ROLE; whatever fails closes it."""
    try:
        flat = cast("list[Any]", await asked(channel, "HELLO"))
    except BaseException as error:
        if isinstance(error, ResponseError) and "unknown command" in str(error):
            return Greeting(is_clustered=False, is_primary=False)  # a proxy; INFO tells the rest
        await channel.disconnect(nowait=True)
        if isinstance(error, AuthenticationError):
            raise AuthenticationError("it asks for a password") from error
        raise
    told = dict(zip(flat[::2], flat[1::2], strict=True))
    return Greeting(told.get(b"mode") == b"cluster", told.get(b"role") == b"master")
