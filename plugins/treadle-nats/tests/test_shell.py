"""What a user of the command sees when a server is not what it should be: one line, and exit code 4."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from treadle.cli import main

trustme: Any = pytest.importorskip("trustme")

Make = Callable[..., Any]
USERS: dict[str, Any] = {
    "users": [
        {"user": "ada", "password": "s3cret"},
        {
            "user": "lost",
            "password": "s3cret",
            "permissions": {"publish": ["nothing"], "subscribe": ["_INBOX.>"]},
        },
        {
            "user": "deaf",
            "password": "s3cret",
            "permissions": {"publish": [">"], "subscribe": ["_INBOX.>"]},
        },
        {
            "user": "mute",
            "password": "s3cret",
            "permissions": {"publish": [">"], "subscribe": ["treadle-live.>"]},
        },
    ]
}


def _qrun(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def _is_one_line(result: Result, said: str) -> None:
    """Insist on one line that says this, and on exit code 4."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.exit_code == 4


def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{taken.getsockname()[1]}"

        _is_one_line(_qrun("queues", "list", "--url", url), "cannot connect to nats://127")


def test_a_host_that_has_no_address() -> None:
    url = "nats://nowhere.invalid?timeout_ms=2000"

    _is_one_line(_qrun("queues", "list", "--url", url), "cannot connect to nats://nowhere.invalid")


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("ada:guessed", "password"),
        ("nobody:s3cret", "password"),
        ("a-token", "password"),
        ("", "password"),
        ("lost:s3cret", "ermissions violation for publish"),
        ("deaf:s3cret", "ermissions violation for subscription"),
        ("mute:s3cret", "ermissions violation for subscription"),
    ],
)
def test_a_user_who_may_not(make_server: Make, login: str, said: str) -> None:
    server = make_server(authorization=USERS)
    at = f"{login}@127.0.0.1" if login else "127.0.0.1"
    url = f"nats://{at}:{server.port}?timeout_ms=1000"

    result = _qrun("queues", "list", "--url", url)

    _is_one_line(result, said)
    assert "guessed" not in result.stderr
    assert "s3cret" not in result.stderr


def test_no_jetstream(make_server: Make) -> None:
    url = make_server(jetstream=False).url

    _is_one_line(_qrun("queues", "list", "--url", url), "JetStream does not answer")


def test_a_domain_that_is_not_there(make_server: Make) -> None:
    url = f"{make_server().url}?domain=nowhere"

    _is_one_line(_qrun("queues", "list", "--url", url), "JetStream does not answer")


def test_messages_that_are_too_small(make_server: Make) -> None:
    url = make_server(max_payload=4_096).url

    _is_one_line(_qrun("queues", "list", "--url", url), "max_payload")


def test_more_replicas_than_servers(make_server: Make) -> None:
    url = f"{make_server().url}?replicas=3"

    _is_one_line(_qrun("queues", "list", "--url", url), "replicas")


def test_a_store_that_has_no_room_for_a_stream(make_server: Make, tmp_path: Path) -> None:
    limits = {"store_dir": str(tmp_path / "store"), "max_file_store": 1_048_576}
    url = f"{make_server(jetstream=limits).url}?max_bytes=8388608"

    _is_one_line(_qrun("queues", "list", "--url", url), "no space left")


@pytest.fixture
def old_server() -> Iterator[int]:
    """Give the port of what says that it is a server of long ago."""

    def speak() -> None:
        talk, _ = old.accept()
        with talk:
            talk.sendall(
                b'INFO {"server_id":"X","version":"2.14.4","proto":1,"headers":true,'
                b'"max_payload":1048576,"jetstream":true}\r\n'
            )
            while heard := talk.recv(4_096):
                if b"PING" in heard:
                    talk.sendall(b"PONG\r\n")

    with socket.socket() as old:
        old.bind(("127.0.0.1", 0))
        old.listen()
        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield old.getsockname()[1]
        thread.join(5)


def test_a_server_that_is_too_old(old_server: int) -> None:
    url = f"nats://127.0.0.1:{old_server}"

    _is_one_line(
        _qrun("queues", "list", "--url", url), "nats-server 2.14.4 is too old, 2.14.5 is needed"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "certificate"),
        ("&ca={other}", "certificate"),
        ("&ca={ca}", "certificate"),
    ],
    ids=["system", "other authority", "without its own"],
)
def test_a_connection_that_is_not_trusted(
    make_server: Make, tmp_path: Path, options: str, said: str
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    names = {name: str(tmp_path / name) for name in ("ca", "other", "cert", "key")}
    authority.cert_pem.write_to_path(names["ca"])
    stranger.cert_pem.write_to_path(names["other"])
    pair = authority.issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(names["cert"])
    pair.private_key_pem.write_to_path(names["key"])
    tls = {"cert_file": names["cert"], "key_file": names["key"], "ca_file": names["ca"]}
    server = make_server(tls={**tls, "verify": True})
    url = f"tls://127.0.0.1:{server.port}?timeout_ms=3000{options.format(**names)}"

    _is_one_line(_qrun("queues", "list", "--url", url), said)


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN NATS USER JWT-----\nabc\n"])
def test_a_file_that_holds_no_credentials_is_wrong_use(tmp_path: Path, text: str) -> None:
    file = tmp_path / "user.creds"
    file.write_text(text)

    result = _qrun("queues", "list", "--url", f"nats://127.0.0.1:1?creds={file}")

    assert result.exit_code == 2
    assert "holds no credentials" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
