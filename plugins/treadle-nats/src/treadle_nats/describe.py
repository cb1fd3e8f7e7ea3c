"""What the server says about itself, and how a namespace is erased."""

from __future__ import annotations

from typing import Any

from treadle.broker.values import Description, Durability
from treadle.errors import BrokerUnavailable
from treadle_nats import leavings
from treadle_nats.engine import Engine
from treadle_nats.link import Link
from treadle_nats.streams import delete, inspect


async def describe(engine: Engine) -> Description:
    """Read the live settings of server and stream, and say what they promise."""
    await engine.joined()
    link, log = engine.link, engine.log
    standing = None if link is None else await inspect(link)
    if link is None or log is None or standing is None:
        raise BrokerUnavailable(f"{engine.address.shown}: the namespace was erased meanwhile")
    replicas = int(standing.config.get("num_replicas", 1))
    in_memory = standing.config.get("storage") == "memory"
    dropping = _dropping(standing.config)
    return Description(
        name="nats",
        version=link.version,
        durability=_durability(engine, replicas, is_safe=not (in_memory or dropping)),
        detail=(
            ("stream", engine.address.stream),
            ("storage", str(standing.config.get("storage"))),
            ("replicas", str(replicas)),
            ("max_bytes", str(standing.max_bytes)),
            ("log_bytes", str(standing.size)),
            ("log_messages", str(standing.last - standing.first + 1)),
        ),
        warnings=(
            *_warnings(engine, replicas, in_memory=in_memory),
            *dropping,
        ),
    )


def _durability(engine: Engine, replicas: int, *, is_safe: bool) -> Durability:
    if not is_safe:
        return Durability.NONE
    if not engine.address.synced:
        return Durability.PROCESS
    return Durability.NODE_LOSS if replicas > 1 else Durability.POWER_LOSS


def _warnings(engine: Engine, replicas: int, *, in_memory: bool) -> list[str]:
    address = engine.address
    found: list[str] = []
    if in_memory:
        found.append("the stream is in memory: jobs end with the server")
    elif not address.synced:
        found.append(
            "a power cut can lose up to two minutes of writes, unless the server has"
            " `sync_interval: always`, which clients cannot see: if it has, say so with ?sync=always"
        )
    if address.client_time:
        found.append("time=client is for tests: time comes from the clocks of clients")
    if replicas != address.replicas:
        found.append(f"the URL asks for {address.replicas} replicas, the stream has {replicas}")
    if not address.tls and not address.is_local:
        found.append("the connection is not encrypted: use tls://")
    return found


def _dropping(config: dict[str, Any]) -> list[str]:
    """Warn of a stream that somebody set to forget."""
    limits = [name for name in ("max_age", "max_msgs") if config.get(name, 0) > 0]
    if config.get("discard") != "new":
        limits.append(f"discard={config.get('discard')}")
    if not limits:
        return []
    return [f"the stream drops messages by itself ({', '.join(limits)}): jobs will be lost"]


async def erase(engine: Engine) -> None:
    """Delete the streams of the namespace, and everything that is known of them here."""
    life = None if engine.log is None else engine.log.life
    await engine.leave(BrokerUnavailable(f"{engine.address.shown}: the namespace was erased"))
    link = Link(engine.address, lambda: None)
    try:
        await link.connect()
        await delete(link)
        if life is not None:
            leavings.forget(life)
    finally:
        await link.close()
