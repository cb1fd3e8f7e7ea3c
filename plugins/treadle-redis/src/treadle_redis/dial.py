"""Opening connections: to the server of the URL, or to the one that the sentinels name.

Every connect asks anew where the primary is, reads the password file again, and makes a connection
of its own: what changed meanwhile counts. All sentinels are asked at once and the first answer is
taken, so that one which is gone costs nothing. Whoever was found has to say itself that it is the
primary: for a moment after a failover sentinels may name the old one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from treadle.errors import BrokerRefused
from treadle_redis import forks
from treadle_redis.address import Address, Login, Place
from treadle_redis.trouble import NotReached, unreachable

Channel = Connection | SSLConnection
_ASK: Final = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")


async def dial(address: Address) -> Channel:
    """Open a connection to the server that takes writes.

    Raises:
        NotReached: if there is none now.
        BrokerRefused: if it does not let us in.
    """
    try:
        async with asyncio.timeout(address.timeout_s):
            if not address.sentinels:
                return await _opened(address, address.place, address.login, address.database)
            place = await _primary(address)
            channel = await _opened(address, place, address.login, address.database)
            await _insist_on_primary(address, channel, place)
            return channel
    except (RedisError, OSError) as error:
        raise unreachable(error, address.shown) from error


async def _opened(address: Address, place: Place, login: Login, database: int) -> Channel:
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


async def _primary(address: Address) -> Place:
    """Return where the primary is, as the first sentinel says that answers."""
    asked = [asyncio.ensure_future(_ask(address, place)) for place in address.sentinels]
    said: list[str] = []
    refusal: BrokerRefused | None = None
    try:
        for answer in asyncio.as_completed(asked):
            try:
                return await answer
            except BrokerRefused as error:
                refusal = error
            except (NotReached, RedisError, OSError) as error:
                said.append(str(error) or type(error).__name__)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if refusal is not None:
        raise refusal
    raise NotReached(f"{address.shown}: no sentinel can be reached: {'; '.join(said)}")


async def _ask(address: Address, place: Place) -> Place:
    channel: Channel | None = None
    try:
        channel = await _opened(address, place, address.sentinel_login, 0)
        await channel.send_command(*_ASK, address.service)
        found = cast("list[bytes] | None", await channel.read_response())
    except AuthenticationError as error:
        raise BrokerRefused(
            f"{address.shown}: the sentinel {place} refuses user or password ({error}): see"
            " sentinel_user and sentinel_password_file"
        ) from error
    except ResponseError as error:
        raise BrokerRefused(
            f"{address.shown}: {place} does not answer as a sentinel ({error})"
        ) from error
    finally:
        if channel is not None:
            await channel.disconnect(nowait=True)
    if not found:
        raise BrokerRefused(
            f"{address.shown}: the sentinel {place} knows no primary named {address.service!r}"
        )
    host, port = found
    return Place(host.decode(), int(port))


async def _insist_on_primary(address: Address, channel: Channel, place: Place) -> None:
    try:
        await channel.send_command("HELLO")  # what every user may ask, unlike ROLE
        flat = cast("list[Any]", await channel.read_response())
        if dict(zip(flat[::2], flat[1::2], strict=True)).get(b"role") == b"master":
            return
    except BaseException:
        await channel.disconnect(nowait=True)
        raise
    await channel.disconnect(nowait=True)
    raise NotReached(
        f"{address.shown}: {place}, which the sentinels name, is a replica: a failover is under way"
    )
