"""Logging in with a file of credentials, on a server that trusts an operator."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from treadle_nats import NatsBroker

from treadle.broker.url import parse
from treadle.conformance.hand import make_job, stored
from treadle.domain.job import Ref
from treadle.errors import BrokerUnavailable
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

nkeys: Any = pytest.importorskip("nkeys")

EVERYTHING = -1
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


async def test_a_file_of_credentials_lets_in_and_a_key_of_somebody_else_does_not(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    operator = Key(nkeys.PREFIX_BYTE_OPERATOR)
    account, system = Key(nkeys.PREFIX_BYTE_ACCOUNT), Key(nkeys.PREFIX_BYTE_ACCOUNT)
    user, other = Key(nkeys.PREFIX_BYTE_USER), Key(nkeys.PREFIX_BYTE_USER)
    limits = {"wildcards": True, **dict.fromkeys((*LIMITS, *STORE), EVERYTHING)}
    allowed = operator.says(account, "account", limits=limits)
    jwt = account.says(user, "user", subs=EVERYTHING, data=EVERYTHING, payload=EVERYTHING)
    server = make_server(
        operator=operator.says(operator, "operator"),
        resolver="MEMORY",
        resolver_preload={account.name: allowed, system.name: operator.says(system, "account")},
        system_account=system.name,
    )
    file = _write(tmp_path / "user.creds", jwt, user)
    url = f"{server.url}?creds={file}&timeout_ms=2000"

    async with NatsBroker(parse(url), SystemClock()) as broker:
        await stored(broker, make_job("signed"))
        (found,) = await broker.get([Ref("default", "signed")])
    _write(file, jwt, other)
    stranger = NatsBroker(parse(url), SystemClock())
    with pytest.raises(BrokerUnavailable, match=r"password|hung up"):
        await stranger.connect()
    await stranger.disconnect()

    assert found is not None
