"""Asking sentinels where the primary is.

Whoever they name has to say itself that it is the primary: for a moment after a failover sentinels may
name the old one.
"""

from __future__ import annotations

from typing import Final, cast

from redis.exceptions import AuthenticationError, ResponseError

from treadle.errors import BrokerRefused
from treadle_redis.address import Address, Place
from treadle_redis.channel import Channel, Reached, asked, greeted, opened
from treadle_redis.trouble import NotReached

_ASK: Final = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")


async def primary(address: Address, sentinel: Place) -> Reached:
    """Open a connection to the primary that a sentinel names.

    Raises:
        NotReached: if that one is a replica now.
        BrokerRefused: if this sentinel cannot help.
    """
    place = await _named(address, sentinel)
    channel = await opened(address, place, address.login, address.database)
    greeting = await greeted(channel)
    if greeting.is_primary:
        return Reached(channel, place, greeting.is_clustered)
    await channel.disconnect(nowait=True)
    raise NotReached(
        f"{address.shown}: {place}, which the sentinels name, is a replica: a failover is under way"
    )


async def _named(address: Address, place: Place) -> Place:
    channel: Channel | None = None
    try:
        channel = await opened(address, place, address.sentinel_login)
        found = cast("list[bytes] | None", await asked(channel, *_ASK, address.service))
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
