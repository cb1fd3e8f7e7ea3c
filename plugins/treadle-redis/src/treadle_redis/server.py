"""The server itself: whether it may be used, what it promises, and how a namespace is erased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from treadle.broker.values import Description, Durability
from treadle.errors import BrokerRefused, BrokerUnavailable
from treadle_redis import scripts
from treadle_redis.address import Address
from treadle_redis.cluster import slot
from treadle_redis.desk import Desk
from treadle_redis.dial import dial
from treadle_redis.links import Links

_OLDEST: Final = (7, 0)
_OLDEST_VALKEY: Final = (7, 2)
_SCHEMA: Final = 2
_IN_CLUSTER: Final = 100
"""What is added to the number of a layout whose keys are named as in a cluster."""
_AT_ONCE: Final = 1_000
_APPENDONLY: Final = {"0": "no", "1": "yes"}

Info = Mapping[str, str]


async def info(links: Links) -> Info:
    """Ask the server for everything that it says about itself; little, if INFO is forbidden."""
    try:
        text: bytes = await links.call("INFO")
    except BrokerRefused:
        return await _greeting(links)
    pairs = [line.partition(":") for line in text.decode(errors="replace").splitlines()]
    return {name: value for name, colon, value in pairs if colon}


async def _greeting(links: Links) -> Info:
    """Return what HELLO tells, which every user may ask, in the words of INFO."""
    flat: list[bytes] = await links.call("HELLO")
    told = dict(zip(flat[::2], flat[1::2], strict=True))
    name = "valkey_version" if told.get(b"server") == b"valkey" else "redis_version"
    return {
        name: told[b"version"].decode(),
        "role": told[b"role"].decode(),
        "cluster_enabled": str(int(told[b"mode"] == b"cluster")),
    }


def is_durable(found: Info) -> bool:
    """Tell whether what is stored survives the server's process."""
    return found.get("aof_enabled") == "1"


def is_clustered(found: Info) -> bool:
    """Tell whether the server is a node of a cluster."""
    return found.get("cluster_enabled") == "1"


async def check(desk: Desk) -> Info:
    """Refuse a server that is too old, a replica, and a namespace that others have laid out.

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
    if found.get("role", "master") != "master":
        raise BrokerUnavailable(f"{shown} is a read-only replica: use the address of the primary")
    await _check_layout(desk, is_clustered=is_clustered(found))
    return found


async def _check_layout(desk: Desk, *, is_clustered: bool) -> None:
    wanted = _SCHEMA + _IN_CLUSTER * is_clustered
    schema: int = await desk.links.run(scripts.SCHEMA, wanted, again=True)
    where = f"{desk.address.shown}: namespace {desk.address.namespace!r} was laid out"
    if schema == wanted:
        return
    if schema in (_SCHEMA, _SCHEMA + _IN_CLUSTER):
        there, here = ("outside of", "in") if is_clustered else ("in", "outside of")
        raise BrokerRefused(
            f"{where} {there} a cluster, where keys have other names than {here} one: let jobs end"
            " where they were stored, or use another namespace"
        )
    if 0 < schema < _SCHEMA:
        raise BrokerRefused(
            f"{where} before the first release (layout {schema}, this one knows {_SCHEMA}): let the"
            " version that wrote it empty it, or use another namespace"
        )
    raise BrokerRefused(
        f"{where} by a newer version (layout {schema}, this one knows {_SCHEMA}): update treadle-redis"
    )


async def describe(desk: Desk) -> Description:
    """Read the live settings of the server and say what they promise."""
    found = await info(desk.links)
    fsync = await _setting(desk.links, "appendfsync")
    address = desk.address
    is_valkey = "valkey_version" in found
    version = found.get("valkey_version") or found.get("redis_version", "?")
    detail = (
        ("server", await _where(address, is_clustered=is_clustered(found))),
        ("appendonly", _APPENDONLY.get(found.get("aof_enabled", ""), "unknown")),
        ("appendfsync", fsync or "unknown"),
        ("maxmemory", found.get("maxmemory_human", "?")),
        ("maxmemory-policy", found.get("maxmemory_policy", "?")),
        ("used memory", found.get("used_memory_human", "?")),
        ("connected replicas", found.get("connected_slaves", "?")),
        ("replicas waited for", str(address.replicas)),
        ("wake-up", "BLPOP on marker lists"),
    )
    return Description(
        name="redis",
        version=f"{'Valkey' if is_valkey else 'Redis'} {version}",
        durability=_durability(found, fsync, address.replicas),
        detail=detail,
        warnings=tuple(_warnings(desk, found, fsync)),
    )


async def _where(address: Address, *, is_clustered: bool) -> str:
    if is_clustered:
        reached = await dial(address)
        await reached.channel.disconnect(nowait=True)
        namespace = address.namespace
        return f"cluster, node {reached.place}: it has slot {slot(namespace)}, of {namespace!r}"
    where = str(address.place)
    if address.sentinels:
        where = f"{address.service} of {', '.join(map(str, address.sentinels))}"
    return f"{where}, database {address.database}"


def _durability(found: Info, fsync: str, replicas: int) -> Durability:
    if not is_durable(found) or _throws_away(found):
        return Durability.NONE
    if fsync != "always":
        return Durability.PROCESS
    return Durability.NODE_LOSS if replicas else Durability.POWER_LOSS


def _throws_away(found: Info) -> bool:
    """Tell whether a full server makes room at the cost of jobs; no key of ours expires."""
    return found.get("maxmemory", "0") != "0" and found.get("maxmemory_policy", "").startswith(
        "allkeys"
    )


def _warnings(desk: Desk, found: Info, fsync: str) -> list[str]:
    address, warnings = desk.address, list[str]()
    if "aof_enabled" not in found:
        warnings.append(
            "this user may not ask INFO, so nothing is known of the server's persistence: allow +info"
        )
    elif not is_durable(found):
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
    if not address.is_local and not address.tls:
        warnings.append("the connection is not encrypted: use rediss:// beyond one machine")
    if not address.is_local and not address.login.has_password:
        warnings.append("the server asks for no password: whoever reaches it can run jobs")
    return warnings + _of_replicas(desk, found)


def _of_replicas(desk: Desk, found: Info) -> list[str]:
    address = desk.address
    connected = int(found.get("connected_slaves", address.replicas))
    if address.replicas > connected:
        said = (
            f"{address.replicas} replicas must confirm each write and {connected} are connected:"
            " writes fail until they are"
        )
        return [said]
    if (address.sentinels or is_clustered(found)) and not address.replicas:
        said = (
            "a failover may lose the last writes, since replicas get them afterwards: add"
            " `replicas=1` to the URL to wait for one"
        )
        return [said]
    return []


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
