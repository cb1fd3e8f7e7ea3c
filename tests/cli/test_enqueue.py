"""`qrun enqueue`: everything is checked before anything is sent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import APP, Qrun
from tests.support.source import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def app_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give an app that is imported into this process, anew for each test."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "enqueue_app.py").write_text(APP, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return "enqueue_app:jobs"


def _file(qrun: Qrun, *lines: object) -> str:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return str(qrun.write("lines.jsonl", text + "\n"))


GOOD = {"type": "email.send", "payload": {"to": "ada"}}


def test_a_job_is_enqueued_and_its_id_is_printed(with_app: Qrun) -> None:
    ran = with_app.process(
        "enqueue", "email.send", "--payload", '{"to":"ada"}', "--priority", "high"
    )

    (row,) = with_app("jobs", "list", "--json").objects
    assert ran.code == 0
    assert ran.out.strip() == row["id"]
    assert (row["type"], row["priority"], row["state"]) == ("email.send", "high", "queued")
    assert "found in jobs.py" in ran.err


def test_a_payload_that_does_not_fit_ends_with_2_and_names_the_field(with_app: Qrun) -> None:
    ran = with_app.process("enqueue", "email.send", "--payload", '{"to":3}')

    assert ran.code == 2
    assert "'to' must be str, got int" in ran.err
    assert "[QRUN-J002]" in ran.err
    assert with_app("jobs", "list", "--json").objects == []


def test_an_unknown_type_is_refused_when_an_app_is_loaded(with_app: Qrun) -> None:
    ran = with_app.process("enqueue", "email.sned")

    assert ran.code == 2
    assert "Did you mean 'email.send'?" in ran.err


def test_without_an_app_any_type_is_taken_with_a_note(qrun: Qrun) -> None:
    ran = qrun("enqueue", "whatever", "--payload", '{"a":[1,2]}')

    assert ran.code == 0
    assert "not checked" in ran.err
    assert [row["type"] for row in qrun("jobs", "list", "--json").objects] == ["whatever"]


@pytest.mark.parametrize("payload", ["{", "[]", "3", '{"n":1e999}', '{"n":99999999999999999999}'])
def test_without_an_app_a_payload_must_be_an_object_that_can_be_kept(
    qrun: Qrun, payload: str
) -> None:
    ran = qrun("enqueue", "whatever", "--payload", payload)

    assert ran.code == 2
    assert "[QRUN-J002]" in ran.err


def test_a_payload_over_the_limit_ends_with_2(qrun: Qrun) -> None:
    big = json.dumps({"type": "x", "payload": {"text": "x" * 5_000_000}})

    ran = qrun("enqueue", "--file", "-", input=big)

    assert ran.code == 2
    assert "line 1:" in ran.err


def test_the_same_id_is_stored_once(qrun: Qrun) -> None:
    first = qrun("enqueue", "x", "--id", "once")
    second = qrun("enqueue", "x", "--id", "once")

    assert (first.out, second.out) == ("once\n", "once\n")
    assert "there already" not in first.err
    assert "there already" in second.err
    assert list(qrun.states()) == ["once"]


def test_a_program_learns_whether_a_job_is_new(qrun: Qrun) -> None:
    said = [qrun("enqueue", "x", "--unique", "k", "--json").objects[0] for _ in range(2)]

    assert [row["new"] for row in said] == [True, False]
    assert said[0]["id"] == said[1]["id"]


def test_lines_that_were_enqueued_before_are_counted_apart(qrun: Qrun) -> None:
    qrun("enqueue", "x", "--id", "a")

    file = _file(qrun, *({"type": "x", "id": name} for name in "abcb"))
    first, again = qrun("enqueue", "--file", file), qrun("enqueue", "--file", file, "--json")

    assert first.out == "enqueued 2, there already 2\n"
    assert again.objects == [{"enqueued": 0, "known": 4, "unsure": 0, "skipped": 0, "refused": 0}]


FAR_APP = """
from treadle import Jobs
from treadle.broker.base import Broker
from treadle.conformance.faults import Fault, Faults, FaultyBroker


class FarJobs(Jobs):
    def broker(self) -> Broker:
        faults = Faults()
        faults.script("enqueue", Fault.LOSE_REPLY)
        return FaultyBroker(super().broker(), faults)


jobs = FarJobs()


@jobs.handler("x")
async def x(n: int = 0) -> None: ...
"""


@pytest.fixture
def far(qrun: Qrun) -> Qrun:
    """Give the command in a folder with an app whose broker answers the first enqueue in vain."""
    qrun.write("jobs.py", FAR_APP)
    return qrun


@pytest.mark.promise(3)
def test_a_job_is_new_although_the_first_reply_was_lost(far: Qrun) -> None:
    (row,) = far("enqueue", "x", "--json").objects
    told = far("enqueue", "x")

    assert row["new"] is True
    assert "already" not in told.err
    assert set(far.states()) == {row["id"], told.out.strip()}


@pytest.mark.promise(3)
def test_after_a_lost_reply_nobody_claims_to_know_who_stored_a_given_id(far: Qrun) -> None:
    (row,) = far("enqueue", "x", "--id", "once", "--json").objects
    told = far("enqueue", "x", "--id", "once")
    (other,) = far("enqueue", "x", "--id", "once", "--payload", '{"n":1}', "--json").objects

    assert row["new"] is None
    assert told.out == "once\n"
    assert "cannot be known" in told.err
    assert other["new"] is False
    assert list(far.states()) == ["once"]


@pytest.mark.promise(3)
def test_lines_whose_reply_was_lost_are_counted_apart_if_they_give_their_ids(far: Qrun) -> None:
    file = _file(far, {"type": "x"}, {"type": "x", "id": "a"}, {"type": "x", "id": "b"})

    told = far("enqueue", "--file", file)
    counted = far("enqueue", "--file", file, "--json")

    assert told.out == "enqueued 1, stored now or before 2 (a reply was lost)\n"
    assert counted.objects == [{"enqueued": 1, "known": 0, "unsure": 2, "skipped": 0, "refused": 0}]
    assert len(far.states()) == 4


def test_an_empty_payload_is_no_object(qrun: Qrun) -> None:
    ran = qrun("enqueue", "x", "--payload", "")

    assert ran.code == 2
    assert "[QRUN-J002]" in ran.err
    assert qrun.states() == {}


def test_a_delay_is_read_as_people_write_it(qrun: Qrun) -> None:
    qrun("enqueue", "x", "--delay", "5m", "--id", "later")

    assert qrun.states() == {"later": "scheduled"}
    assert qrun("enqueue", "x", "--delay", "soon").code == 2


@pytest.mark.contract("F15")
def test_the_ten_example_payloads_are_stored_unchanged(qrun: Qrun) -> None:
    ran = qrun("enqueue", "--file", str(EXAMPLES / "jobs.jsonl"))

    listed = qrun("jobs", "list", "--json").objects
    shown = qrun("jobs", "show", "--json", *(row["id"] for row in listed)).objects
    wanted = [json.loads(line) for line in (EXAMPLES / "payloads.jsonl").read_text().splitlines()]
    assert ran.out == "enqueued 10\n"
    assert sorted(map(json.dumps, (row["payload"] for row in shown))) == sorted(
        map(json.dumps, wanted)
    )
    assert all(row["type"] == row["payload"]["task"] for row in shown)


def test_the_demo_ships_the_same_examples() -> None:
    shipped = ROOT / "src/treadle/cli/demo/jobs.jsonl"

    assert shipped.read_bytes() == (EXAMPLES / "jobs.jsonl").read_bytes()


BAD = [
    pytest.param("nope", "JSON is malformed", id="no JSON"),
    pytest.param({"type": "email.send", "payload": {"to": 1}}, "'to' must be str", id="field"),
    pytest.param({"type": "email.sned"}, "Did you mean 'email.send'?", id="type"),
    pytest.param(
        {**GOOD, "priority": "urgent"}, "$.priority`; one of critical, high", id="priority"
    ),
    pytest.param({**GOOD, "delay": "soon"}, "duration", id="delay"),
    pytest.param({**GOOD, "delay": -1}, "duration", id="negative delay"),
    pytest.param({**GOOD, "queue": "no name"}, "queue 'no name'", id="queue"),
    pytest.param({**GOOD, "id": "no id"}, "id 'no id'", id="id"),
    pytest.param({**GOOD, "colour": "red"}, "colour", id="unknown key"),
    pytest.param({"payload": {}}, "type", id="no type"),
    pytest.param(
        '{"type": "email.send", "payload": {"to": "\\ud800"}}', "surrogate", id="surrogate"
    ),
]


@pytest.mark.parametrize(("line", "why"), BAD)
def test_one_bad_line_is_named_and_nothing_is_enqueued(
    qrun: Qrun, app_module: str, line: object, why: str
) -> None:
    file = _file(qrun, GOOD, "", line, GOOD)

    ran = qrun("enqueue", "--file", file, "--app", app_module)

    assert ran.code == 2
    assert "line 3:" in ran.err
    assert why in ran.err
    assert qrun("jobs", "list", "--json").objects == []


def test_bad_lines_are_skipped_and_told_if_asked(qrun: Qrun, app_module: str) -> None:
    file = _file(qrun, GOOD, "nope", GOOD, {"type": "other"})

    ran = qrun("enqueue", "--file", file, "--app", app_module, "--skip-bad", "--json")

    assert ran.code == 0
    assert ran.objects == [{"enqueued": 2, "known": 0, "unsure": 0, "skipped": 2, "refused": 0}]
    assert "line 2:" in ran.err
    assert "line 4:" in ran.err
    assert len(qrun("jobs", "list", "--json").objects) == 2


def test_a_line_that_is_skipped_for_its_size_does_not_say_that_nothing_was_enqueued(
    qrun: Qrun, app_module: str
) -> None:
    file = _file(qrun, GOOD, {"type": "email.send", "payload": {"to": "x" * 300_000}})

    ran = qrun("enqueue", "--file", file, "--app", app_module, "--skip-bad")

    assert ran.code == 0
    assert "line 2: email.send: the payload has 300,010 bytes" in ran.err
    assert "enqueue a reference" in ran.err
    assert "Nothing was enqueued" not in ran.err


IMPATIENT_APP = '''
"""An app whose user presses Ctrl-C while the second thousand is on its way."""

import os
import signal

import msgspec

from treadle import Jobs

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if we run in the background
jobs = Jobs()
seen: list[int] = []


class Row(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        seen.append(self.number)
        if self.number == 1500 and seen.count(1500) == 2:  # at first all lines are checked
            os.kill(os.getpid(), signal.SIGINT)


@jobs.handler("row")
async def row(row: Row) -> None: ...
'''


def test_who_interrupts_a_bulk_enqueue_is_told_how_many_are_there(qrun: Qrun) -> None:
    qrun.write("jobs.py", IMPATIENT_APP)
    lines = [{"type": "row", "payload": {"row": {"number": number}}} for number in range(2_500)]

    ran = qrun.process("enqueue", "--file", _file(qrun, *lines))

    assert ran.code == 130
    assert ran.out == "enqueued 1000\n"
    assert "Interrupted: up to 1,000 more" in ran.err


def test_a_file_may_begin_with_a_byte_order_mark(qrun: Qrun) -> None:
    file = _file(qrun, "\ufeff" + json.dumps(GOOD), GOOD)

    assert qrun("enqueue", "--file", file).out == "enqueued 2\n"


def test_who_enqueues_into_memory_is_told_that_the_job_ends_with_the_command(qrun: Qrun) -> None:
    ran = qrun("enqueue", "x", QRUN_URL="memory://")

    assert "what it enqueues is gone when it ends" in ran.err


def test_lines_may_come_from_stdin_in_more_than_one_batch(qrun: Qrun) -> None:
    lines = "".join(f'{{"type":"x","id":"n-{number}"}}\n' for number in range(2_345))

    ran = qrun("enqueue", "--file", "-", input=lines)

    assert ran.out == "enqueued 2345\n"
    assert qrun("queues", "list", "--json").objects[0]["waiting"] == 2_345


def test_a_file_that_is_not_there_ends_with_2(qrun: Qrun) -> None:
    ran = qrun("enqueue", "--file", "nothing.jsonl")

    assert ran.code == 2
    assert "nothing.jsonl" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [(), ("x", "--file", "f"), ("--file", "f", "--payload", "{}"), ("x", "--skip-bad")],
)
def test_what_contradicts_itself_is_refused(qrun: Qrun, arguments: tuple[str, ...]) -> None:
    assert qrun("enqueue", *arguments).code == 2


def test_what_a_line_brings_cannot_move_the_cursor(qrun: Qrun, tmp_path: Path) -> None:
    file = _file(qrun, {"type": "x\x1b[2J\u202e"})

    ran = qrun("enqueue", "--file", file)

    assert ran.code == 2
    assert not {"\x1b", "\u202e"} & set(ran.err)
