"""Names of the longest length, and of every character that is allowed, mean what short ones mean."""

from __future__ import annotations

from treadle.broker.base import Duplicate, Filter, LogLine, Noted, Progress, Step
from treadle.conformance.case import Level, case
from treadle.conformance.hand import act, ids, known, lease, look_around, make_job, ref, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import ErrorInfo, Ref
from treadle.domain.outcome import Failed, RetryAsked, Succeeded
from treadle.domain.state import Shown, State
from treadle.domain.unique import KEY_BYTES, Unique

NAME_CHARS = 128
"""The most characters of a queue, a type and an id."""
SEPARATORS = "./:_-"


def longest(last: str, most: int = NAME_CHARS, first: str = "") -> str:
    """Return a name of `most` characters that tells from others only by its last one."""
    return first + "x" * (most - len(first) - len(last)) + last


def longest_text(last: str) -> str:
    """Return a text of `KEY_BYTES` bytes: what stores use between names, and longer characters."""
    first = "\0\n {*}>%_:\x7f\u2028"
    room = KEY_BYTES - len((first + last).encode())
    four = "\U0001f9f5" * (room // 4)
    return first + "x" * (room % 4) + four + last


@case("C131", "names of the longest length are kept everywhere")
async def names_of_the_longest_length_are_kept_everywhere(lab: Lab) -> None:
    broker = lab.broker
    worker = longest_text("w")
    hand = await lab.hand(worker)
    queue = longest("a", first="._-")
    job = make_job(
        longest("a", first=SEPARATORS), queue=queue, type=longest("a", first="-._"), payload=b"{}"
    )
    start = (await broker.events(None)).cursor
    await stored(broker, job)
    (again,) = (await broker.enqueue([job])).results
    assert isinstance(again, Duplicate)
    assert again.record.ref == ref(job)

    record = await hand.claim_one(queue)
    noted = await broker.note(
        hand.session,
        [
            Step(lease=lease(record), name=longest_text("s"), data=b"1"),
            Progress(lease=lease(record), data=b"[1,2]"),
            LogLine(lease=lease(record), at=1, text=longest_text("t")),
        ],
    )
    pulse = await broker.heartbeat(hand.session, [lease(record)])
    (session,) = await broker.sessions()
    await hand.end(record, Succeeded(result=b'"done"'))

    assert record.job == job
    assert list(noted) == [Noted()] * 3
    assert (pulse.lost, pulse.orphans) == ((), ())
    assert (session.name, session.running) == (worker, 1)
    done = await known(broker, job)
    assert (done.job, done.head.state, done.result) == (job, State.SUCCEEDED, b'"done"')
    assert await known(broker, Ref("", job.id)) == done
    notes = await broker.notes(ref(job))
    assert notes.steps == ((longest_text("s"), b"1"),)
    assert notes.log == ((record.head.fence, 1, longest_text("t")),)
    entries = (await broker.events(start)).entries
    assert [(entry.queue, entry.id) for entry in entries] == [(queue, job.id)] * 3
    (counted,) = (await broker.stats()).queues
    assert (counted.queue, counted.succeeded) == (queue, 1)


@case("C132", "names of the longest length that differ in one character are two")
async def names_of_the_longest_length_that_differ_in_one_character_are_two(lab: Lab) -> None:
    broker = lab.broker
    first, second = [await lab.hand(longest_text(last)) for last in "ab"]
    queue, other = longest("a"), longest("b")
    a, b, far = (
        make_job(longest(last), queue=where, type=longest(last))
        for last, where in (("a", queue), ("b", queue), ("a", other))
    )
    await stored(broker, a, b, far)
    await broker.pause(other, True)
    await broker.set_queue_limit(other, 1)

    assert await first.claim(queues=[other]) == []
    mine = await first.claim_one(queue)
    theirs = await second.claim_one(queue)
    await first.end(mine, Failed(error=ErrorInfo(type="E"), give_up=True))

    assert (mine.job, theirs.job) == (a, b)
    assert {session.name for session in await broker.sessions()} == {
        longest_text("a"),
        longest_text("b"),
    }
    for wanted, expected in (
        (Filter(queue=queue), [b, a]),
        (Filter(queue=other, state=Shown.QUEUED), [far]),
        (Filter(queue=queue, state=Shown.RUNNING), [b]),
        (Filter(type=longest("a")), [far, a]),
        (Filter(type=longest("b")), [b]),
        (Filter(text=longest("b")), [b]),
    ):
        page = await broker.find(wanted)
        assert [record.ref for record in page.records] == [ref(job) for job in expected]
    found = {stats.queue: stats for stats in (await broker.stats()).queues}
    assert (found[queue].dead, found[queue].running, found[queue].waiting) == (1, 1, 0)
    assert (found[other].waiting, found[other].paused) == (1, True)
    assert not found[queue].paused
    assert await broker.limits() == (("queue", other, 1),)


@case("C133", "keys of the longest length hold and count", level=Level.FLOW)
async def keys_of_the_longest_length_hold_and_count(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    key, other = longest_text("a"), longest_text("b")
    await broker.set_limit(key, 1)
    holder = make_job(longest("1"), unique=Unique(key=key), key=key)
    waiter = make_job(longest("2"), unique=Unique(key=other), key=key)
    free = make_job(longest("3"), key=other, after=(Ref("default", longest("1")),))
    await stored(broker, holder, waiter, free)

    (answer,) = (await broker.enqueue([make_job(unique=Unique(key=key))])).results
    claimed = await hand.claim()

    assert isinstance(answer, Duplicate)
    assert answer.record.job.id == holder.id
    assert [record.job for record in claimed] == [holder]
    assert (await known(broker, waiter)).head.blocked_on == key
    assert (await known(broker, free)).edges == (ref(holder),)
    assert await broker.limits() == (("key", key, 1),)
    assert [record.ref for record in (await broker.find(Filter(text=key))).records] == [ref(holder)]
    await hand.end(claimed[0], Succeeded())
    await look_around(broker)
    assert ids(await hand.claim()) == [waiter.id, free.id]
    await act(broker, await known(broker, holder), RetryAsked())
    (taken,) = (await broker.enqueue([make_job(unique=Unique(key=key))])).results
    assert isinstance(taken, Duplicate)
