"""Asking several servers for the same thing: all at once, and the first answer is taken.

One that is gone costs nothing, and one that knows less than the others does not stand in the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from treadle.errors import BrokerRefused
from treadle_redis.address import Place
from treadle_redis.channel import Reached
from treadle_redis.trouble import NotNow, NotReached

Ask = Callable[[Place], Awaitable[Reached]]


async def first(places: Sequence[Place], ask: Ask, nobody: str) -> Reached:
    """Return the connection that the first of some places leads to; others are closed again.

    Raises:
        NotReached: if none leads to one, with what `nobody` says and what each said.
        BrokerRefused: if one of them refuses, and none leads to one.
    """
    asked = [asyncio.ensure_future(ask(place)) for place in places]
    troubles: list[Exception] = []
    chosen: Reached | None = None
    try:
        for answer in asyncio.as_completed(asked):
            try:
                chosen = await answer
            except (BrokerRefused, NotReached, RedisError, OSError) as error:
                troubles.append(error)
            else:
                return chosen
    finally:
        for task in asked:
            task.cancel()
        for left in await asyncio.gather(*asked, return_exceptions=True):
            if not isinstance(left, BaseException) and left is not chosen:
                await left.channel.disconnect(nowait=True)
    for trouble in troubles:
        if isinstance(trouble, BrokerRefused | NotNow):
            raise trouble
    said = dict.fromkeys(str(trouble) or type(trouble).__name__ for trouble in troubles)
    raise NotReached(f"{nobody}: {'; '.join(said)}")
