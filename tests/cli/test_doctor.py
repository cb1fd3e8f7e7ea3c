"""`qrun doctor`, `config`, `plugins` and `workers`: what is there, and what falls short."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Qrun
from treadle.cli.doctor import network_mount


def _verdicts(qrun: Qrun, **environ: str) -> dict[str, str]:
    return {row["check"]: row["status"] for row in qrun("doctor", "--json", **environ).objects}


def test_all_is_well_on_a_fresh_file(qrun: Qrun) -> None:
    ran = qrun("doctor")

    verdicts = _verdicts(qrun)
    assert ran.code == 0
    assert "failed" not in verdicts.values()
    assert " SQLite 3." in ran.out
    assert "sqlite SQLite" not in ran.out
    assert {"python", "plugins", "broker", "durability", "clock", "files", "command"} <= set(
        verdicts
    )


def test_a_file_that_was_not_there_is_a_warning(qrun: Qrun) -> None:
    first, second = qrun("doctor", "--json"), qrun("doctor", "--json")

    (warning,) = [row for row in first.objects if "there was no sqlite:///" in row["detail"]]
    assert (warning["check"], warning["status"]) == ("broker", "warning")
    assert "there was no" not in second.out


@pytest.mark.promise(2)
def test_durability_is_compared_with_what_was_asked_for(qrun: Qrun) -> None:
    weak = f"{qrun.url}?durability=process"

    assert _verdicts(qrun, QRUN_DURABILITY="power-loss")["durability"] == "ok"
    assert _verdicts(qrun, QRUN_DURABILITY="power-loss", QRUN_URL=weak)["durability"] == "failed"
    assert qrun("doctor", QRUN_DURABILITY="power-loss", QRUN_URL=weak).code == 1


def test_a_broker_that_is_away_is_a_check_that_failed(qrun: Qrun) -> None:
    qrun.write("file", "")

    ran = qrun("doctor", "--json", QRUN_URL=f"sqlite:///{qrun.folder}/file/jobs.db")

    assert ran.code == 1
    assert {row["check"] for row in ran.objects if row["status"] == "failed"} == {"broker"}


def test_settings_that_do_not_fit_are_a_check_that_failed(qrun: Qrun) -> None:
    verdicts = _verdicts(qrun, QRUN_WORKER_CONCURRENCY="many")

    assert verdicts["settings"] == "failed"


def test_a_foreign_qrun_is_found(
    qrun: Qrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "site" / "qrun-9.9.dist-info"
    foreign.mkdir(parents=True)
    (foreign / "METADATA").write_text("Metadata-Version: 2.1\nName: qrun\nVersion: 9.9\n")
    monkeypatch.setattr(sys, "path", [str(foreign.parent), *sys.path])

    ran = qrun("doctor", "--json")

    assert ran.code == 1
    assert any("9.9" in row["detail"] for row in ran.objects if row["check"] == "command")


MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/local tmpfs rw 0 0
//nas/share /my\\040share cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/var/jobs.db", ""),
        ("/home/ada/jobs.db", "/home (nfs4)"),
        ("/home/local/jobs.db", ""),
        ("/my share/jobs.db", "/my share (cifs)"),
    ],
)
def test_a_file_on_a_network_mount_is_found(path: str, mount: str) -> None:
    assert network_mount(Path(path), MOUNTS) == mount


def test_every_setting_is_told_with_its_origin(qrun: Qrun) -> None:
    qrun.write("treadle.toml", "[worker]\nconcurrency = 3\n")

    rows = {row["name"]: row for row in qrun("config", "--json", WORKER_QUEUES="a,b").objects}

    assert rows["worker.concurrency"]["value"] == "3"
    assert rows["worker.name"]["value"] is None
    assert rows["worker.concurrency"]["origin"] == "treadle.toml"
    assert rows["worker.queues"]["value"] == "a, b"
    assert "WORKER_QUEUES" in rows["worker.queues"]["origin"]
    assert rows["worker.grace"]["origin"] == "default"
    assert rows["worker.grace"]["variable"] == "QRUN_WORKER_GRACE"


def test_plugins_are_listed_with_version_and_origin(qrun: Qrun) -> None:
    rows = {row["name"]: row for row in qrun("plugins", "--json").objects}

    assert rows["sqlite"]["distribution"] == "treadle"
    assert rows["sqlite"]["origin"] == "treadle.broker.sqlite"
    assert rows["sqlite"]["version"]


def test_nobody_is_at_work_in_a_fresh_store(qrun: Qrun) -> None:
    assert qrun("workers", "--json").objects == []
    assert "No workers" in qrun("workers").err
