"""The server itself: whether it may be used, what it promises, and how a namespace is erased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from treadle.broker.values import Description, Durability
from treadle.errors import BrokerRefused, BrokerUnavailable
from treadle_redis import scripts
from treadle_redis.desk import Desk
from treadle_redis.links import Links

_OLDEST: Final = (7, 0)
_OLDEST_VALKEY: Final = (7, 2)
_SCHEMA: Final = 1
_AT_ONCE: Final = 1_000

Info = Mapping[str, str]


async def info(links: Links) -> Info:
    """Ask the server for everything that it says about itself."""
    text: bytes = await links.call("INFO")
    pairs = [line.partition(":") for line in text.decode(errors="replace").splitlines()]
    return {name: value for name, colon, value in pairs if colon}


def is_durable(found: Info) -> bool:
    """Tell whether what is stored survives the server's process."""
    return found.get("aof_enabled") == "1"


async def check(desk: Desk) -> Info:
    """Refuse a server that is too old, a replica, and a namespace that a newer version has laid out.

    Raises:
        BrokerRefused: if the server or the namespace must not be used.
        BrokerUnavailable: if the server takes no writes.
    """
    shown = desk.address.shown
    found = await info(desk.links)
    valkey = found.get("valkey_version")
    version = valkey or found.get("redis_version", "0")
    oldest = _OLDEST_VALKEY if valkey else _OLDEST
    if _numbers(version) < oldest:
        name = "Valkey" if valkey else "Redis"
        raise BrokerRefused(
            f"{shown} runs {name} {version}: at least {'.'.join(map(str, oldest))} is needed"
        )
    if found.get("cluster_enabled") == "1":
        raise BrokerRefused(f"{shown} is part of a cluster, which this version cannot use yet")
    if found.get("role", "master") != "master":
        raise BrokerUnavailable(f"{shown} is a read-only replica: use the address of the primary")
    schema: int = await desk.links.run(scripts.SCHEMA, _SCHEMA, again=True)
    if schema != _SCHEMA:
        raise BrokerRefused(
            f"{shown}: namespace {desk.address.namespace!r} was laid out by a newer version"
            f" (layout {schema}, this one knows {_SCHEMA}): update treadle-redis"
        )
    return found


async def describe(desk: Desk) -> Description:
    """Read the live settings of the server and say what they promise."""
    found = await info(desk.links)
    fsync = await _setting(desk.links, "appendfsync")
    durability = Durability.NONE
    if is_durable(found):
        durability = Durability.POWER_LOSS if fsync == "always" else Durability.PROCESS
    is_valkey = "valkey_version" in found
    version = found.get("valkey_version") or found.get("redis_version", "?")
    detail = (
        ("server", f"{desk.address.host}:{desk.address.port}/{desk.address.database}"),
        ("appendonly", "yes" if is_durable(found) else "no"),
        ("appendfsync", fsync or "unknown"),
        ("maxmemory", found.get("maxmemory_human", "?")),
        ("maxmemory-policy", found.get("maxmemory_policy", "?")),
        ("used memory", found.get("used_memory_human", "?")),
        ("connected replicas", found.get("connected_slaves", "0")),
        ("wake-up", "BLPOP on marker lists"),
    )
    return Description(
        name="redis",
        version=f"{'Valkey' if is_valkey else 'Redis'} {version}",
        durability=durability,
        detail=detail,
        warnings=tuple(_warnings(desk, found, fsync)),
    )


def _warnings(desk: Desk, found: Info, fsync: str) -> list[str]:
    address, warnings = desk.address, list[str]()
    if not is_durable(found):
        warnings.append(
            "the append-only file is off: everything is lost when the server ends. Set"
            " `appendonly yes`"
        )
    elif fsync not in ("always", "everysec"):
        warnings.append(
            f"appendfsync is {fsync or 'unknown'}: a crash of the machine loses the last writes"
        )
    if found.get("aof_last_write_status", "ok") != "ok":
        warnings.append("the last write to the append-only file failed: look at the server's disk")
    policy = found.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: a full server would throw jobs away. Set"
            " `maxmemory-policy noeviction`"
        )
    away = address.host not in ("localhost", "127.0.0.1", "::1")
    if away and not address.tls:
        warnings.append("the connection is not encrypted: use rediss:// beyond one machine")
    if away and address.password is None:
        warnings.append("the server asks for no password: whoever reaches it can run jobs")
    return warnings


async def erase(desk: Desk) -> None:
    """Remove every key of the namespace."""
    namespace = desk.address.namespace
    for pattern in (f"{{{namespace}}}:*", f"{{{namespace}:*}}:*"):
        cursor: int | bytes = 0
        while True:
            cursor, keys = await desk.links.call(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE
            )
            if keys:
                await desk.links.call("UNLINK", *keys)
            if int(cursor) == 0:
                break


async def _setting(links: Links, name: str) -> str:
    try:
        reply = await links.call("CONFIG", "GET", name)
    except BrokerRefused:
        return ""  # this user may not ask
    return reply[1].decode() if reply else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
