"""The way through a cluster: to the node that has the slot of the namespace.

All keys of a namespace have one hash tag there (lua/cluster.lua), so that one primary has them all.
Any node says who that is: asked for a key that it does not have, it answers with MOVED and an address.
The one that answers otherwise is what we look for. That needs no command about clusters, which a user
may lack, and no list of nodes that grows old.
"""

from __future__ import annotations

from typing import Any, Final, cast

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from treadle_redis import keys
from treadle_redis.address import Address, Place
from treadle_redis.channel import Channel, Reached, asked, opened
from treadle_redis.trouble import NotNow, refused

_HOPS: Final = 5
_UNNAMED: Final = ("", "?")
"""What a node says instead of a host that it does not know: it is the one that was asked."""


def slot(namespace: str) -> int:
    """Return the slot of a namespace."""
    return key_slot(keys.never(namespace).encode())


async def home(address: Address, channel: Channel, place: Place) -> Reached:
    """Follow the nodes, from one that is open, to the one that has the namespace.

    Raises:
        NotNow: if the nodes do not agree, or the cluster is down.
    """
    for _ in range(_HOPS):
        try:
            further = await _elsewhere(address, channel, place)
        except BaseException:
            await channel.disconnect(nowait=True)
            raise
        if further is None:
            return Reached(channel, place, is_clustered=True)
        await channel.disconnect(nowait=True)
        channel, place = await opened(address, further, address.login), further
    await channel.disconnect(nowait=True)
    raise NotNow(
        f"{address.shown}: the nodes of the cluster do not agree on who has slot"
        f" {slot(address.namespace)}: a failover is under way, or `redis-cli --cluster fix` is needed"
    )


async def _elsewhere(address: Address, channel: Channel, place: Place) -> Place | None:
    """Return where a node says that the namespace is; None if that node has it."""
    try:
        await asked(channel, "EXISTS", keys.never(address.namespace))
    except MovedError as moved:
        host: str = cast("Any", moved).host
        return Place(place.host if host in _UNNAMED else host, moved.port)
    except (AskError, TryAgainError):
        return None  # it has the slot, and is handing it over
    except ResponseError as error:
        raise refused(error, address.shown, "connecting") from error
    return None
