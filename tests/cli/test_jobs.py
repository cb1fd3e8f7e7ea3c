"""`qrun jobs` and `qrun dead`: listing, showing, and acting on many at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import GIVEN_UP, Qrun
from tests.support.factories import make_job
from treadle.domain.job import After, ErrorInfo, Job, Priority
from treadle.domain.outcome import Failed, Lost, Succeeded

KEYS = {"id", "type", "state", "queue", "priority", "attempt", "result", "error"}


def _job(id: str, **over: Any) -> Job:
    return make_job(id=id, payload=b'{"to":"ada"}', **over)


def _jobs(count: int, **over: Any) -> list[Job]:
    return [_job(f"j-{number}", **over) for number in range(count)]


def test_every_job_is_listed_as_one_object_a_line(qrun: Qrun) -> None:
    qrun.enqueue(_job("a", priority=Priority.CRITICAL), _job("b", due=After(60_000)))

    ran = qrun("jobs", "list", "--json")

    first, second = sorted(ran.objects, key=lambda row: str(row["id"]))
    assert first.keys() >= KEYS
    assert (first["id"], first["state"], first["priority"]) == ("a", "queued", "critical")
    assert (second["id"], second["state"], second["priority"]) == ("b", "scheduled", "medium")
    assert (first["result"], first["error"], first["attempt"]) == (None, None, 0)


@pytest.mark.contract("F14")
def test_result_and_error_are_read_with_the_job(qrun: Qrun) -> None:
    qrun.enqueue(_job("good"))
    qrun.end(Succeeded(result=b'{"sent":true}'))
    qrun.enqueue(_job("bad"))
    qrun.end(GIVEN_UP)

    rows = {row["id"]: row for row in qrun("jobs", "list", "--json").objects}

    assert rows["good"]["result"] == {"sent": True}
    assert rows["good"]["error"] is None
    assert rows["bad"]["error"] == {"type": "builtins.ValueError", "message": "no such person"}
    assert rows["bad"]["reason"] == "given_up"


SECRET = b'{"user":"ada","password":"sesame"}'
REDACT = {"QRUN_REDACT": "*.password,progress.note"}


def test_what_is_to_be_redacted_is_shown_by_no_command(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a", payload=SECRET))
    qrun.end(Succeeded(result=SECRET))

    calls = [("list", "--json"), ("show", "a"), ("show", "a", "--json")]
    outputs = [qrun("jobs", *call, **REDACT).out for call in calls]
    outputs.append(qrun("wait", "a", "--json", **REDACT).out)

    assert all("sesame" not in text and "[redacted]" in text for text in outputs)
    assert "sesame" in qrun("jobs", "show", "a").out


def test_what_is_redacted_keeps_its_place_in_the_json(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a", payload=SECRET))

    (row,) = qrun("jobs", "show", "a", "--json", **REDACT).objects

    assert row["payload"] == {"user": "ada", "password": "[redacted]"}


def test_a_listing_is_limited_and_says_so(qrun: Qrun) -> None:
    qrun.enqueue(*_jobs(7))

    ran = qrun("jobs", "list", "--limit", "3")

    assert len(ran.out.splitlines()) == 4
    assert "--limit 0 shows all" in ran.err
    assert len(qrun("jobs", "list", "--limit", "0", "--json").objects) == 7


def test_a_listing_is_filtered(qrun: Qrun) -> None:
    qrun.enqueue(_job("a", queue="mail"), _job("b", type="sms.send"), _job("c", due=After(60_000)))

    def ids(*options: str) -> set[str]:
        return {str(row["id"]) for row in qrun("jobs", "list", "--json", *options).objects}

    assert ids("--queue", "mail") == {"a"}
    assert ids("--type", "sms.send") == {"b"}
    assert ids("--state", "scheduled") == {"c"}
    assert ids("--text", "sms") == {"b"}


def test_showing_a_job_tells_its_history_and_its_traceback(qrun: Qrun) -> None:
    error = ErrorInfo(type="ValueError", message="no", traceback="Traceback: line 1\nline 2")
    qrun.enqueue(_job("a"))
    qrun.end(Failed(error=error, give_up=True))

    (shown,) = qrun("jobs", "show", "a", "--json").objects
    text = qrun("jobs", "show", "a").out

    assert shown["payload"] == {"to": "ada"}
    assert [row["event"] for row in shown["history"]] == ["fail"]
    assert shown["history"][0]["error"]["traceback"].startswith("Traceback")
    assert "Traceback: line 1" in text


def test_a_job_whose_worker_died_shows_it(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"))
    qrun.end(Lost(ended=True))

    assert "deaths:    1 times its worker died while it ran" in qrun("jobs", "show", "a").out


def test_reading_from_a_file_that_was_not_there_says_so(qrun: Qrun) -> None:
    first, second = qrun("jobs", "list"), qrun("jobs", "list")

    assert "There was no sqlite:///" in first.err
    assert "(URL from: environment: QRUN_URL)" in first.err
    assert "only in the code of an app is not seen here: give it with --url" in first.err
    assert "There was no" not in second.err


def test_what_a_job_brings_cannot_forge_a_line_of_the_table(qrun: Qrun) -> None:
    evil = ErrorInfo(type="E", message="x\nj-9 \x1b[2J\u202e forged")
    qrun.enqueue(_job("a"))
    qrun.end(Failed(error=evil, give_up=True))

    listed, shown = qrun("jobs", "list").out, qrun("jobs", "show", "a").out
    as_json = qrun("jobs", "list", "--json").out

    assert len(listed.splitlines()) == 2
    assert len(as_json.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(listed + shown + as_json)
    assert json.loads(as_json)["error"]["message"] == evil.message


def test_an_unknown_id_ends_with_2_after_the_others_were_shown(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"))

    ran = qrun("jobs", "show", "nope", "a", "--json")

    assert ran.code == 2
    assert [row["id"] for row in ran.objects] == ["a"]
    assert "[QRUN-J003]" in ran.err
    assert "nope" in ran.err


def test_a_bulk_action_wants_ids_a_filter_or_all(qrun: Qrun) -> None:
    assert qrun("jobs", "cancel").code == 2
    assert qrun("jobs", "cancel", "a", "--type", "x").code == 2
    assert qrun("jobs", "cancel", "a", "--all").code == 2


@pytest.mark.contract("F24")
def test_a_dead_letter_is_listed_shown_and_retried_by_id(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"), _job("b"))
    qrun.end(GIVEN_UP)

    listed = qrun("dead", "list", "--json").objects
    ran = qrun("dead", "retry", "a")

    assert {row["id"] for row in listed} == {"a", "b"}
    assert ran.out == "retried 1, skipped 0\n"
    assert qrun.states() == {"a": "queued", "b": "dead"}


def test_retrying_twice_retries_once(qrun: Qrun) -> None:
    qrun.enqueue(*_jobs(3))
    qrun.end(GIVEN_UP)

    first, second = qrun("dead", "retry", "--all"), qrun("dead", "retry", "j-0", "j-1")

    assert first.out == "retried 3, skipped 0\n"
    assert second.out == "retried 0, skipped 2\n"
    assert (first.code, second.code) == (0, 0)


def test_a_dry_run_counts_and_changes_nothing(qrun: Qrun) -> None:
    qrun.enqueue(*_jobs(3))
    qrun.end(GIVEN_UP, limit=2)
    before = qrun.states()

    ran = qrun("jobs", "delete", "--all", "--dry-run", "--json")

    assert ran.objects == [{"deleted": 2, "asked": 0, "skipped": 1, "dry_run": True}]
    assert qrun.states() == before


def test_a_filter_chooses_which_dead_letters_are_retried(qrun: Qrun) -> None:
    qrun.enqueue(_job("a", type="sms.send"), _job("b"))
    qrun.end(GIVEN_UP)

    ran = qrun("dead", "retry", "--type", "sms.send", "--reason", "given_up", "--error", "person")

    assert ran.out == "retried 1, skipped 0\n"
    assert qrun.states() == {"a": "queued", "b": "dead"}


def test_more_jobs_than_one_chunk_are_all_acted_on(qrun: Qrun) -> None:
    qrun.enqueue(*_jobs(1_203))

    ran = qrun("jobs", "cancel", "--queue", "default")

    assert ran.out == "cancelled 1203, skipped 0\n"


def test_cancelled_jobs_are_skipped_and_removed_ones_are_gone(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"), _job("b"))

    assert qrun("jobs", "cancel", "a").out == "cancelled 1, skipped 0\n"
    again = qrun("jobs", "cancel", "--all")
    assert again.out == "cancelled 1, skipped 1\n"
    assert "whose state does not allow it" in again.err
    assert qrun("jobs", "delete", "a").out == "deleted 1, skipped 0\n"
    assert qrun.states() == {"b": "cancelled"}


def test_discarding_touches_dead_letters_only(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"))
    qrun.end(GIVEN_UP)
    qrun.enqueue(_job("b"))
    qrun.end(Succeeded())

    ran = qrun("dead", "discard", "a", "b")

    assert ran.out == "discarded 1, skipped 1\n"
    assert qrun.states() == {"b": "succeeded"}


def test_the_history_says_who_asked(qrun: Qrun) -> None:
    qrun.enqueue(_job("a"))
    qrun.end(GIVEN_UP)

    qrun("dead", "retry", "a")
    (shown,) = qrun("jobs", "show", "a", "--json").objects

    assert shown["history"][-1]["event"] == "retry"
    assert shown["history"][-1]["by"].startswith("qrun:")


def test_pausing_a_queue_that_has_no_job_tells_which_there_are(qrun: Qrun) -> None:
    qrun.enqueue(_job("a", queue="mail"))

    assert "Queues: mail" in qrun("queues", "pause", "mial").err
    assert "Queues:" not in qrun("queues", "pause", "mail").err


def test_what_cannot_be_a_queue_is_not_paused(qrun: Qrun) -> None:
    ran = qrun("queues", "pause", "mail", "a b")

    assert ran.code == 2
    assert "queue 'a b': letters, digits" in ran.err
    assert qrun("queues", "list", "--json").objects == []


def test_queues_are_counted_paused_and_resumed(qrun: Qrun) -> None:
    qrun.enqueue(*_jobs(2), _job("m", queue="mail"))

    qrun("queues", "pause", "mail")
    rows = {row["queue"]: row for row in qrun("queues", "list", "--json").objects}

    assert rows["default"]["waiting"] == 2
    assert rows["mail"]["paused"] is True
    qrun("queues", "resume", "mail")
    rows = {row["queue"]: row for row in qrun("queues", "list", "--json").objects}
    assert rows["mail"]["paused"] is False
