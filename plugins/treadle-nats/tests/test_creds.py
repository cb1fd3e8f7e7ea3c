"""Logging in with a file of credentials, on a server that trusts an operator."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from treadle_nats import NatsBroker

from treadle.broker.url import parse
from treadle.conformance.hand import make_job, stored
from treadle.domain.job import Ref
from treadle.errors import BrokerError, BrokerUnavailable
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

nkeys: Any = pytest.importorskip("nkeys")

EVERYTHING = -1
PATIENCE_S = 300
LIMITS = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
STORE = ("mem_storage", "disk_storage", "streams", "consumer")


class Key:
    """A key that signs for an operator, an account or a user."""

    def __init__(self, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), prefix)
        self._pair: Any = nkeys.from_seed(bytearray(self.seed))
        self.name: str = self._pair.public_key.decode()

    def says(self, about: Key, kind: str, **claims: Any) -> str:
        """Return a JWT that says this about the holder of a key."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {
            "jti": secrets.token_hex(8),
            "iat": 1_700_000_000,
            "iss": self.name,
            "sub": about.name,
            "name": kind,
            "nats": {"type": kind, "version": 2, **claims},
        }
        text = f"{_encoded(json.dumps(head))}.{_encoded(json.dumps(body))}"
        return f"{text}.{_encoded(self._pair.sign(text.encode()))}"


def _encoded(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _write(file: Path, jwt: str, key: Key) -> Path:
    seed = key.seed.decode()
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    return file


class Trusting:
    """A server that trusts an operator, and the file of credentials of a user whom it lets in."""

    def __init__(self, make_server: Callable[..., Any], folder: Path) -> None:
        operator = Key(nkeys.PREFIX_BYTE_OPERATOR)
        account, system = Key(nkeys.PREFIX_BYTE_ACCOUNT), Key(nkeys.PREFIX_BYTE_ACCOUNT)
        self.user = Key(nkeys.PREFIX_BYTE_USER)
        limits = {"wildcards": True, **dict.fromkeys((*LIMITS, *STORE), EVERYTHING)}
        allowed = operator.says(account, "account", limits=limits)
        self.jwt = account.says(
            self.user, "user", subs=EVERYTHING, data=EVERYTHING, payload=EVERYTHING
        )
        self.server = make_server(
            operator=operator.says(operator, "operator"),
            resolver="MEMORY",
            resolver_preload={account.name: allowed, system.name: operator.says(system, "account")},
            system_account=system.name,
        )
        self.file = _write(folder / "user.creds", self.jwt, self.user)
        self.url = f"{self.server.url}?creds={self.file}&timeout_ms=2000"


@pytest.fixture
def trusting(make_server: Callable[..., Any], tmp_path: Path) -> Trusting:
    return Trusting(make_server, tmp_path)


async def test_a_file_of_credentials_lets_in_and_a_key_of_somebody_else_does_not(
    trusting: Trusting,
) -> None:
    async with NatsBroker(parse(trusting.url), SystemClock()) as broker:
        await stored(broker, make_job("signed"))
        (found,) = await broker.get([Ref("default", "signed")])
    _write(trusting.file, trusting.jwt, Key(nkeys.PREFIX_BYTE_USER))
    stranger = NatsBroker(parse(trusting.url), SystemClock())
    with pytest.raises(BrokerUnavailable, match=r"password|hung up"):
        await stranger.connect()
    await stranger.disconnect()

    assert found is not None


async def test_a_file_that_is_gone_when_the_server_returns_is_read_again_when_it_is_back(
    trusting: Trusting,
) -> None:
    async with NatsBroker(parse(trusting.url), SystemClock()) as broker:
        await stored(broker, make_job("before"))
        trusting.file.unlink()
        trusting.server.stop()
        trusting.server.start()
        with anyio.fail_after(PATIENCE_S):
            while True:
                with pytest.raises(BrokerError) as caught:
                    await broker.enqueue([make_job()])
                if "credentials" in str(caught.value):
                    break
        _write(trusting.file, trusting.jwt, trusting.user)

        with anyio.fail_after(PATIENCE_S):
            while True:
                with suppress(BrokerError):
                    await stored(broker, make_job("after"))
                    break
