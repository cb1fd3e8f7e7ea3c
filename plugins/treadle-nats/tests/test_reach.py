"""How a broker reaches JetStream: over a leaf node, from another account, encrypted, with credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from treadle_nats import NatsBroker
from treadle_nats.address import locate

from treadle.broker.url import parse
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerError, BrokerUnavailable, ConfigurationError
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

trustme: Any = pytest.importorskip("trustme")

Make = Callable[..., Any]


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


async def _connected(url: str) -> NatsBroker:
    """Connect as soon as the way is there."""
    broker = _broker(url)
    with anyio.fail_after(30):
        while True:
            try:
                await broker.connect()
            except BrokerError:
                await anyio.sleep(0.05)
            else:
                return broker


async def _use(broker: NatsBroker, home: NatsBroker) -> None:
    """Do all that needs a way to the server and back, snapshots too; see the outcome from `home`."""
    payload = b'{"x":"' + b"x" * 300_000 + b'"}'
    hand = await Hand.open(broker)
    await stored(broker, make_job("through", payload=payload))
    await hand.end(await hand.claim_one("default"), Succeeded())
    await stored(home, make_job("back"))
    assert [record.job.id for record in await hand.claim(1, wait_ms=20_000)] == ["back"]
    (found,) = await home.get([Ref("default", "through")])
    assert found is not None
    assert found.job.payload == payload
    await broker.disconnect()
    await broker.connect()
    assert [queue.succeeded for queue in (await broker.stats()).queues] == [1]


@pytest.mark.parametrize("own", [False, {"domain": "leaf"}], ids=["without", "with"])
async def test_a_leaf_node_reaches_the_jetstream_of_another_domain(
    make_server: Make, tmp_path: Path, port: int, own: Any
) -> None:
    hub = make_server(
        jetstream={"domain": "hub", "store_dir": str(tmp_path / "hub")},
        leafnodes={"listen": f"127.0.0.1:{port}"},
    )
    leaf = make_server(
        jetstream=own and {**own, "store_dir": str(tmp_path / "leaf")},
        leafnodes={"remotes": [{"url": f"nats-leaf://127.0.0.1:{port}"}]},
    )

    broker = await _connected(f"{leaf.url}?domain=hub&timeout_ms=2000")
    async with _broker(hub.url) as home:
        await _use(broker, home)
    await broker.disconnect()


async def test_a_domain_that_is_not_there_is_said(make_server: Make) -> None:
    broker = _broker(f"{make_server().url}?domain=nowhere&timeout_ms=1000")

    with pytest.raises(BrokerUnavailable, match=r"JetStream does not answer"):
        await broker.connect()
    await broker.disconnect()


async def test_a_user_of_another_account_reaches_jetstream_by_its_prefix(make_server: Make) -> None:
    server = make_server(
        accounts={
            "JOBS": {
                "jetstream": "enabled",
                "users": [{"user": "home", "password": "s3cret"}],
                "exports": [
                    {"service": "$JS.API.>", "response_type": "stream"},
                    {"service": "treadle.>"},
                    {"stream": "treadle-live.>"},
                ],
            },
            "APP": {
                "users": [{"user": "app", "password": "s3cret"}],
                "imports": [
                    {"service": {"account": "JOBS", "subject": "$JS.API.>"}, "to": "jobs.js.>"},
                    {"service": {"account": "JOBS", "subject": "treadle.>"}},
                    {"stream": {"account": "JOBS", "subject": "treadle-live.>"}},
                ],
            },
        }
    )
    at = f"127.0.0.1:{server.port}?timeout_ms=2000"

    async with (
        _broker(f"nats://home:s3cret@{at}") as home,
        _broker(f"nats://app:s3cret@{at}&prefix=jobs.js") as broker,
    ):
        await _use(broker, home)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("domain=a&prefix=b", "not both"),
        ("prefix=a.*", "subject"),
        ("prefix=a..b", "subject"),
        ("domain=a.b", "subject"),
    ],
)
def test_a_domain_or_prefix_that_cannot_be_is_refused(query: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        locate(parse(f"nats://127.0.0.1?{query}"))


class Safe:
    """A server that only speaks TLS and only to who shows a certificate; and the files for it."""

    def __init__(self, make_server: Make, folder: Path, **more: Any) -> None:
        authority = trustme.CA()
        self.ca = self._write(folder / "ca.pem", authority.cert_pem)
        self.other_ca = self._write(folder / "other.pem", trustme.CA().cert_pem)
        cert, key = self._pair(folder, "server", authority.issue_cert("127.0.0.1", "localhost"))
        self.cert, self.key = self._pair(folder, "own", authority.issue_cert("worker"))
        self.server = make_server(
            tls={"cert_file": cert, "key_file": key, "ca_file": self.ca, "verify": True}, **more
        )
        self.at = f"localhost:{self.server.port}?timeout_ms=3000"

    def _write(self, file: Path, blob: Any) -> str:
        blob.write_to_path(str(file))
        return str(file)

    def _pair(self, folder: Path, name: str, leaf: Any) -> tuple[str, str]:
        cert = self._write(folder / f"{name}.pem", leaf.cert_chain_pems[0])
        return cert, self._write(folder / f"{name}.key", leaf.private_key_pem)


@pytest.fixture
def safe(make_server: Make, tmp_path: Path) -> Safe:
    return Safe(make_server, tmp_path)


async def test_an_encrypted_connection_goes_both_ways(safe: Safe) -> None:
    url = f"tls://{safe.at}&ca={safe.ca}&cert={safe.cert}&key={safe.key}"

    async with _broker(url) as broker:
        await stored(broker, make_job("safe"))
        (found,) = await broker.get([Ref("default", "safe")])
        warnings = (await broker.describe()).warnings

    assert found is not None
    assert not any("encrypted" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("scheme", "options", "said"),
    [
        ("tls", "&cert={own}&key={key}", "certificate"),
        ("tls", "&ca={other}&cert={own}&key={key}", "certificate"),
        ("tls", "&ca={ca}", "certificate"),
        ("nats", "", "certificate|TLS"),
    ],
    ids=["system", "other authority", "without its own", "in the clear"],
)
async def test_a_connection_that_is_not_trusted_is_one_sentence(
    safe: Safe, scheme: str, options: str, said: str
) -> None:
    given = options.format(ca=safe.ca, other=safe.other_ca, own=safe.cert, key=safe.key)
    broker = _broker(f"{scheme}://{safe.at}{given}")

    with pytest.raises(BrokerUnavailable, match=said) as caught:
        await broker.connect()
    await broker.disconnect()

    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300 + len(given)


@pytest.mark.security(16)
async def test_a_server_without_encryption_is_told_nothing() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
        heard.put_nowait(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as serving:
        port = serving.sockets[0].getsockname()[1]
        broker = _broker(f"tls://ada:s3cret@127.0.0.1:{port}?timeout_ms=30000")
        with pytest.raises(BrokerUnavailable, match="the server offers none") as caught:
            await broker.connect()
        await broker.disconnect()
        with anyio.fail_after(60):
            said = await heard.get()

    assert said == b""
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_lets_others_in_without_encryption_is_encrypted_and_verified(
    make_server: Make, tmp_path: Path
) -> None:
    lax = Safe(make_server, tmp_path, allow_non_tls=True)
    own = f"cert={lax.cert}&key={lax.key}"

    async with _broker(f"tls://{lax.at}&ca={lax.ca}&{own}") as broker:
        await stored(broker, make_job("safe"))
    stranger = _broker(f"tls://{lax.at}&ca={lax.other_ca}&{own}")
    with pytest.raises(BrokerUnavailable, match="certificate"):
        await stranger.connect()
    await stranger.disconnect()
