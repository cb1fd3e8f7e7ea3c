"""Logging in with a file of credentials: a user's JWT, and the key that signs what the server asks.

The file is read at each connection, so that one that is replaced counts from the next on. The driver's own
reader waits for ever on a file that holds no JWT.
"""

from __future__ import annotations

import base64
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from treadle.errors import ConfigurationError

_BLOCK = r"-----BEGIN {name}-----\s+(\S+)\s+-{{3,}}END {name}-"


def login(path: str) -> dict[str, Any]:
    """Return what the driver asks for to log in with this file.

    Raises:
        ConfigurationError: if the file holds no credentials, or the library that signs is missing.
    """
    if find_spec("nkeys") is None:
        raise ConfigurationError(
            "?creds= needs a library that signs: pip install 'treadle-nats[creds]'"
        )
    _read(path)

    def jwt() -> bytearray:
        return bytearray(_read(path)[0])

    def sign(nonce: str) -> bytes:
        return _sign(_read(path)[1], nonce)

    return {"user_jwt_cb": jwt, "signature_cb": sign}


def _read(path: str) -> tuple[bytes, bytes]:
    """Return the JWT and the seed of the key."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the credentials in {path}: {error}") from error
    found = [
        re.search(_BLOCK.format(name=name), text) for name in ("NATS USER JWT", "USER NKEY SEED")
    ]
    jwt, seed = [b"" if match is None else match[1].encode() for match in found]
    if not (jwt and seed):
        raise ConfigurationError(
            f"{path} holds no credentials: it needs the JWT of a user and the seed of its key"
        )
    return jwt, seed


def _sign(seed: bytes, nonce: str) -> bytes:
    nkeys: Any = import_module("nkeys")  # only who has such a file needs it; it has no types

    try:
        pair: Any = nkeys.from_seed(bytearray(seed))
        signature: bytes = pair.sign(nonce.encode())
    except (nkeys.NkeysError, ValueError) as error:
        raise ConfigurationError(
            f"the key in the credentials cannot sign: {type(error).__name__}"
        ) from error
    return base64.b64encode(signature)
