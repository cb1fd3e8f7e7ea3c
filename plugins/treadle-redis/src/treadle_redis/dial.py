"""Opening connections: to the server of the URL, or to the one that sentinels or nodes lead to.

Every connect asks anew where the jobs are, reads the password file again, and makes a connection of
its own: what changed meanwhile counts.
"""

from __future__ import annotations

import asyncio
from functools import partial

from redis.exceptions import RedisError

from treadle.errors import BrokerRefused
from treadle_redis import cluster, sentinels
from treadle_redis.address import Address, Place
from treadle_redis.channel import Reached, greeted, opened
from treadle_redis.seeds import first
from treadle_redis.trouble import unreachable


async def dial(address: Address) -> Reached:
    """Open a connection to the server that takes writes.

    Raises:
        NotReached: if there is none now.
        BrokerRefused: if it does not let us in.
    """
    shown = address.shown
    try:
        async with asyncio.timeout(address.timeout_s):
            if address.sentinels:
                ask = partial(sentinels.primary, address)
                return await first(
                    address.sentinels, ask, f"{shown}: no sentinel leads to a primary"
                )
            if address.nodes:
                ask = partial(_reached, address)
                return await first(address.nodes, ask, f"{shown}: no node leads to the namespace")
            return await _reached(address, address.place)
    except (RedisError, OSError) as error:
        raise unreachable(error, shown, address.timeout_s) from error


async def _reached(address: Address, place: Place) -> Reached:
    channel = await opened(address, place, address.login, address.database)
    if (await greeted(channel)).is_clustered:
        return await cluster.home(address, channel, place)
    if not address.nodes:
        return Reached(channel, place, is_clustered=False)
    await channel.disconnect(nowait=True)
    raise BrokerRefused(f"{address.shown}: {place} is no node of a cluster: use redis://")
