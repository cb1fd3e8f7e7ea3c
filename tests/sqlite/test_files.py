"""What a URL means in files, and who may read them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from treadle.broker.sqlite import SqliteBroker
from treadle.broker.sqlite.location import locate, refuse_network
from treadle.broker.sqlite.wake import wake_directory
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, make_job, stored
from treadle.errors import BrokerRefused, ConfigurationError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert locate(parse("sqlite:///a/jobs.db")).file == tmp_path / "a" / "jobs.db"
    assert locate(parse("sqlite:////a/jobs.db")).file == Path("/a/jobs.db")


def test_another_namespace_is_a_file_beside() -> None:
    assert locate(parse("sqlite:////a/jobs.db?namespace=blue")).file == Path("/a/jobs.blue.db")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite://jobs.db", "sqlite:///jobs.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:////tmp/", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///jobs.db?durability=node-loss", "durability"),
        ("sqlite:///jobs.db?busy_timeout=soon", "whole number"),
        ("sqlite:///jobs.db?synchronous=off", "unknown option"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_with_the_way_out(url: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        locate(parse(url))


@pytest.mark.anyio
async def test_directory_file_log_lock_and_socket_belong_to_the_user_alone(
    tmp_path: Path, clock: MovableClock
) -> None:
    file = tmp_path / "new" / ".treadle" / "jobs.db"

    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as broker:
        hand = await Hand.open(broker)
        await stored(broker, make_job())
        await broker.claim(hand.session, ["other"], 1, wait_ms=10)
        modes = {path.name: mode(path) for path in file.parent.iterdir()}
        directory = wake_directory(locate(broker.url))
        assert directory is not None
        sockets = {mode(path) for path in directory.iterdir()}
        shared = mode(directory)

    assert mode(file.parent) == 0o700
    assert sockets == {0o600}
    assert shared == 0o700
    files = {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock"}
    assert {modes[name] for name in files} == {0o600}


@pytest.mark.anyio
async def test_a_broker_leaves_no_socket_and_no_directory_behind(
    broker: SqliteBroker, hand: Hand
) -> None:
    await broker.claim(hand.session, ["default"], 1, wait_ms=10)
    directory = wake_directory(locate(broker.url))
    assert directory is not None

    await broker.disconnect()

    assert not directory.exists()


def test_a_long_path_has_its_sockets_among_the_files_of_the_users_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    place = locate(parse(f"sqlite:///{tmp_path}/{'d' * 100}/jobs.db"))

    directory = wake_directory(place)

    assert directory is not None
    assert len(str(directory)) < 70
    assert mode(directory) == mode(directory.parent) == 0o700
    directory.rmdir()


_MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
61 22 0:55 / /srv/share rw,relatime shared:9 - nfs4 server:/share rw
62 22 0:56 / /srv/my\\040disk rw,relatime shared:9 - virtiofs disk rw
"""


def test_a_file_on_a_network_mount_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(_MOUNTS)

    with pytest.raises(
        BrokerRefused, match=r"/srv/share/a/jobs.db lies on a network mount \(nfs4\)"
    ):
        refuse_network(locate(parse("sqlite:////srv/share/a/jobs.db")), mounts)
    assert refuse_network(locate(parse("sqlite:////srv/shared.db")), mounts) is None
    warning = refuse_network(locate(parse("sqlite:////srv/my%20disk/jobs.db")), mounts)
    assert warning is not None
    assert "virtiofs" in warning
