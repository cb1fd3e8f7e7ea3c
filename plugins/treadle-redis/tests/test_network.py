"""The way to the server: encrypted, with passwords that change, for users who may do little, over forks."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from treadle_redis import RedisBroker

from treadle.broker.values import Applied, Durability
from treadle.cli.failures import NO_BROKER, exit_code
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable, ConfigurationError

pytestmark = pytest.mark.anyio

Make = Callable[[str], RedisBroker]
Ask = Callable[..., Awaitable[Any]]
Start = Callable[..., Any]
Through = Callable[..., Any]


FORKING = """
import asyncio, json, os, sys
from treadle.broker.url import parse
from treadle.conformance.hand import Hand, make_job, stored
from treadle.errors import BrokerUnavailable
from treadle.runtime.clock import SystemClock
from treadle_redis import RedisBroker

async def before(broker):
    await broker.connect()
    await stored(broker, make_job("parent"))

async def inside(broker):
    said = ""
    try:
        await broker.enqueue([make_job("wrong")])
    except BrokerUnavailable as error:
        said = str(error)
    await broker.disconnect()
    async with broker.another() as own:
        await stored(own, make_job("child"))
    return said

async def after(broker):
    await stored(broker, make_job("again"))
    await broker.disconnect()

broker = RedisBroker(parse(sys.argv[1]), SystemClock())
loop = asyncio.new_event_loop()
loop.run_until_complete(before(broker))
read, write = os.pipe()
if os.fork() == 0:
    asyncio.events._set_running_loop(None)
    os.write(write, asyncio.new_event_loop().run_until_complete(inside(broker)).encode())
    os._exit(0)
os.close(write)
said = os.read(read, 10_000).decode()
os.wait()
loop.run_until_complete(after(broker))
print(json.dumps(said))
"""


class Authority:
    """Who signs certificates, and where what they signed lies."""

    def __init__(self, folder: Path, name: str) -> None:
        self._authority: Any = trustme.CA()
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def serves(self, host: str) -> ssl.SSLContext:
        """Return what a server shows that is called so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    def insists(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Have a server ask its clients for a certificate of this authority."""
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> str:
        """Return the options of a URL that show a certificate."""
        own = self._authority.issue_cert("worker")
        cert, key = self._folder / "cert.pem", self._folder / "key.pem"
        own.cert_chain_pems[0].write_to_path(str(cert))
        own.private_key_pem.write_to_path(str(key))
        return f"cert={cert}&key={key}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give an authority that no system knows."""
    return Authority(tmp_path, "ca")


async def _qrun(url: str) -> tuple[int, str]:
    """List the queues of a URL; return the exit code and what was said on stderr."""
    done = await anyio.run_process(
        [sys.executable, "-m", "treadle", "queues", "list"],
        check=False,
        env={**os.environ, "QRUN_URL": url},
    )
    return done.returncode, done.stderr.decode().strip()


async def test_an_encrypted_connection_works_with_the_authority_of_the_url(
    broker_at: Make, server: Any, through: Through, authority: Authority
) -> None:
    async with through(server.port, authority.serves("localhost")) as proxy:
        url = f"rediss://localhost:{proxy.port}?ca={authority.file}&namespace=tls"
        async with broker_at(url) as broker:
            await stored(broker, make_job("a"))
            hand = await Hand.open(broker)
            ended = await hand.end(await hand.claim_one(), Succeeded())
            waited = await hand.claim(wait_ms=50)
            await broker.erase()

    assert isinstance(ended, Applied)
    assert waited == []


async def test_an_authority_that_nobody_knows_is_not_trusted(
    broker_at: Make, server: Any, through: Through, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    async with through(server.port, authority.serves("localhost")) as proxy:
        for query in ("", f"?ca={other.file}"):
            with pytest.raises(BrokerUnavailable, match="certificate verify failed") as failure:
                await broker_at(f"rediss://localhost:{proxy.port}{query}").connect()
            assert "\n" not in str(failure.value)


async def test_a_certificate_for_another_host_is_not_taken(
    broker_at: Make, server: Any, through: Through, authority: Authority
) -> None:
    async with through(server.port, authority.serves("elsewhere.example")) as proxy:
        with pytest.raises(
            BrokerUnavailable, match=r"Hostname mismatch.*not valid for 'localhost'"
        ):
            await broker_at(f"rediss://localhost:{proxy.port}?ca={authority.file}").connect()


async def test_a_server_that_asks_for_a_certificate_gets_one(
    broker_at: Make, server: Any, through: Through, authority: Authority
) -> None:
    asks = authority.insists(authority.serves("localhost"))
    async with through(server.port, asks) as proxy:
        url = f"rediss://localhost:{proxy.port}?ca={authority.file}&timeout=5"
        with pytest.raises(BrokerUnavailable) as failure:
            await broker_at(url).connect()
        async with broker_at(f"{url}&{authority.client()}&namespace=mutual") as broker:
            await stored(broker, make_job("a"))
            await broker.erase()

    assert "\n" not in str(failure.value)


async def test_a_server_without_encryption_is_unavailable_to_an_encrypted_url(
    broker_at: Make, server: Any, authority: Authority
) -> None:
    with pytest.raises(BrokerUnavailable, match=r"no answer within 1 s\. Does it speak TLS\?"):
        await broker_at(f"rediss://localhost:{server.port}?timeout=1").connect()


async def test_an_encrypted_server_is_unavailable_to_a_url_in_clear(
    broker_at: Make, server: Any, through: Through, authority: Authority
) -> None:
    async with through(server.port, authority.serves("localhost")) as proxy:
        with pytest.raises(BrokerUnavailable):
            await broker_at(f"redis://localhost:{proxy.port}?timeout=5").connect()


async def test_nodes_of_a_cluster_are_followed_to_the_names_of_their_certificates(
    broker_at: Make, cluster_of: Start, tell: Ask, hear: Ask, through: Through, authority: Authority
) -> None:
    cluster = cluster_of(2)
    await cluster.settle()
    home, other = cluster.primary, next(e for e in cluster.nodes if e is not cluster.primary)
    shown = authority.serves("localhost")
    async with through(home.port, shown) as proxy, through(other.port, shown) as asked:
        await tell(home, "CONFIG", "SET", "cluster-announce-port", proxy.port)
        await tell(home, "CONFIG", "SET", "cluster-announce-hostname", "localhost")
        await tell(other, "CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
        await hear(other, f":{proxy.port}@", "CLUSTER", "NODES")
        await hear(other, ",localhost", "CLUSTER", "NODES")

        for scheme in ("rediss", "rediss+cluster"):
            async with broker_at(
                f"{scheme}://localhost:{asked.port}?ca={authority.file}"
            ) as broker:
                await stored(broker, make_job(scheme))
                detail = dict((await broker.describe()).detail)

            assert f"node localhost:{proxy.port}:" in detail["server"]


async def test_files_that_cannot_be_read_are_named(broker_at: Make, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("this is no certificate")
    (tmp_path / "empty").write_text("\n")

    for option in (
        f"rediss://h?ca={tmp_path}/missing.pem",
        f"rediss://h?ca={tmp_path}/no.pem",
        f"rediss://h?cert={tmp_path}/no.pem",
        f"redis://h?password_file={tmp_path}/missing",
        f"redis://h?password_file={tmp_path}/empty",
    ):
        with pytest.raises(BrokerUnavailable, match="cannot use a file of the URL"):
            await broker_at(option).connect()


@pytest.mark.parametrize(
    "wrong",
    ["rediss://h?key=k", "redis://:p@h?password_file=f", "redis://h?ca=c", "redis://h?db=1"],
)
async def test_options_that_contradict_each_other_are_refused(broker_at: Make, wrong: str) -> None:
    with pytest.raises(ConfigurationError):
        broker_at(wrong)


async def test_every_trouble_of_a_connection_is_one_line_and_the_code_for_brokers(
    broker_at: Make, start: Start, through: Through, authority: Authority
) -> None:
    locked = start("--requirepass", "right")
    replica = start("--replicaof", f"127.0.0.1 {locked.port}")
    async with (
        through(locked.port, authority.serves("localhost")) as known,
        through(locked.port, authority.serves("elsewhere.example")) as elsewhere,
        through(locked.port, authority.insists(authority.serves("localhost"))) as strict,
    ):
        ca = f"ca={authority.file}&timeout=5"
        for url, said in (
            (f"rediss://localhost:{known.port}?timeout=5", "certificate verify failed"),
            (f"rediss://localhost:{elsewhere.port}?{ca}", "Hostname mismatch"),
            (f"rediss://localhost:{strict.port}?{ca}", "rediss://localhost"),
            (f"redis://localhost:{known.port}?timeout=5", "redis://localhost"),
            (f"redis://:wr0ng@127.0.0.1:{locked.port}", "refuses user or password"),
            (f"redis://127.0.0.1:{locked.port}", "refuses user or password"),
            (replica.url, "read-only replica"),
            (f"redis+sentinel://127.0.0.1:{locked.port}/jobs", "refuses user or password"),
        ):
            with pytest.raises(BrokerError, match=said) as failure:
                await broker_at(url).connect()

            assert exit_code(failure.value) == NO_BROKER, url
            assert len(str(failure.value).splitlines()) == 1, url
            assert "wr0ng" not in str(failure.value)
        code, told = await _qrun(f"rediss://localhost:{known.port}?timeout=5")

    # A machine that is very busy is told that the plugin took long to load.
    lines = [line for line in told.splitlines() if line != "plugin_slow"]
    assert (code, len(lines)) == (NO_BROKER, 1), told
    assert "certificate verify failed" in lines[0]


async def test_a_password_that_changed_in_its_file_is_used_at_the_next_connect(
    broker_at: Make, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    server = start("--user", "worker on >first ~* &* +@all")
    url = f"redis://worker@127.0.0.1:{server.port}?password_file={file}"
    async with broker_at(url) as broker:
        await stored(broker, make_job("a"))
        rotate = ("ACL", "SETUSER", "worker", ">second", "<first")
        await _say(server.port, "worker", "first", *rotate)
        await stored(broker, make_job("b"))  # who is in stays in
        await _say(server.port, "worker", "second", "CLIENT", "KILL", "TYPE", "normal")

        with pytest.raises(BrokerRefused, match="refuses user or password"):
            await broker.enqueue([make_job("c")])
        file.write_text("second\n")
        await stored(broker, make_job("c"))

        assert (await broker.stats()).queues[0].waiting == 3


async def _say(port: int, user: str, password: str, *command: str) -> None:
    from redis.asyncio import Redis

    async with Redis(port=port, username=user, password=password) as connected:
        client: Any = connected
        await client.execute_command(*command)


async def test_a_user_who_may_ask_neither_info_nor_config_can_work(
    broker_at: Make, start: Start
) -> None:
    rules = "worker on >secret ~{treadle} ~{treadle:* ~{treadle}:* &* +@all -@dangerous"
    port = start("--user", rules, "--appendfsync", "always").port

    async with broker_at(f"redis://worker:secret@127.0.0.1:{port}") as broker:
        await stored(broker, make_job("a"))
        hand = await Hand.open(broker)
        ended = await hand.end(await hand.claim_one(), Succeeded())
        described = await broker.describe()

    assert isinstance(ended, Applied)
    assert described.durability is Durability.NONE
    assert "may not ask INFO" in described.warnings[0]
    assert described.version.split()[1][0].isdecimal()


async def test_a_replica_is_known_without_info(broker_at: Make, start: Start) -> None:
    rules = "worker on >secret ~* &* +@all -@dangerous"
    primary = start()
    replica = start("--replicaof", f"127.0.0.1 {primary.port}", "--user", rules)

    with pytest.raises(BrokerUnavailable, match="read-only replica"):
        await broker_at(f"redis://worker:secret@127.0.0.1:{replica.port}").connect()


async def test_a_primary_that_becomes_a_replica_is_unavailable(
    broker_at: Make, start: Start
) -> None:
    server, other = start(), start()
    async with broker_at(server.url) as broker:
        await stored(broker, make_job("a"))
        await _say(server.port, "default", "", "REPLICAOF", "127.0.0.1", str(other.port))

        with pytest.raises(BrokerUnavailable, match="read-only replica"):
            await broker.enqueue([make_job("b")])


async def test_a_fork_keeps_its_hands_off_the_connections_of_its_parent(
    broker_at: Make, url: str, broker: RedisBroker
) -> None:
    done = await anyio.run_process([sys.executable, "-c", FORKING, url], check=False)

    assert done.returncode == 0, done.stderr.decode()
    assert "make a new one in the child" in json.loads(done.stdout)
    found = await broker.get([Ref("default", id) for id in ("parent", "wrong", "child", "again")])
    assert [record is not None for record in found] == [True, False, True, True]
