"""Notes: what a running attempt writes about its job under its lease."""

from __future__ import annotations

from treadle.broker.base import Conflict, Lease, LogLine, Noted, Notes, Progress, Step
from treadle.conformance.case import case
from treadle.conformance.hand import HANDED_BACK, lease, make_job, ref, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import Ref
from treadle.domain.limits import LOG_LINES
from treadle.domain.outcome import DiscardAsked, RetryAsked, Succeeded


@case("C461", "a step is written once and the first result stands")
async def a_step_is_written_once_and_the_first_result_stands(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    mine = lease(await hand.claim_one())

    first = await broker.note(hand.session, [Step(lease=mine, name="charge", data=b"1")])
    second = await broker.note(hand.session, [Step(lease=mine, name="charge", data=b"2")])

    assert (list(first), list(second)) == ([Noted()], [Noted(existing=b"1")])
    assert (await broker.notes(Ref("default", mine.id))).steps == (("charge", b"1"),)


@case("C462", "a step outlives the attempt")
async def a_step_outlives_the_attempt(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    first = await hand.claim_one()
    await broker.note(hand.session, [Step(lease=lease(first), name="charge", data=b"1")])
    await hand.end(first, HANDED_BACK)
    second = await hand.claim_one()

    (answer,) = await broker.note(
        hand.session, [Step(lease=lease(second), name="charge", data=b"2")]
    )

    assert answer == Noted(existing=b"1")


@case("C463", "steps outlive an operators retry")
async def steps_outlive_an_operators_retry(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await broker.note(hand.session, [Step(lease=lease(record), name="charge", data=b"1")])
    await hand.end(record, Succeeded())
    (done,) = await broker.get([ref(record.job)])
    assert done is not None

    await hand.end(done, RetryAsked())

    assert (await broker.notes(ref(record.job))).steps == (("charge", b"1"),)


@case("C464", "of progress the last value counts")
async def of_progress_the_last_value_counts(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    mine = lease(await hand.claim_one())

    await broker.note(hand.session, [Progress(lease=mine, data=b"[1,3]")])
    await broker.note(hand.session, [Progress(lease=mine, data=b"[2,3]")])

    assert (await broker.notes(Ref("default", mine.id))).progress == b"[2,3]"


@case("C465", "log lines stand in order under their attempt")
async def log_lines_stand_in_order_under_their_attempt(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    first = await hand.claim_one()
    await broker.note(
        hand.session,
        [
            LogLine(lease=lease(first), at=1, text="one"),
            LogLine(lease=lease(first), at=2, text="zwei\n\u2028"),
        ],
    )
    await hand.end(first, HANDED_BACK)
    second = await hand.claim_one()
    await broker.note(hand.session, [LogLine(lease=lease(second), at=3, text="three")])

    assert (await broker.notes(ref(first.job))).log == (
        (first.head.fence, 1, "one"),
        (first.head.fence, 2, "zwei\n\u2028"),
        (second.head.fence, 3, "three"),
    )


@case("C466", "of log lines the newest thousand are kept", promises=(12,))
async def of_log_lines_the_newest_thousand_are_kept(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    mine = lease(await hand.claim_one())

    lines = [LogLine(lease=mine, at=number, text="") for number in range(LOG_LINES + 5)]
    await broker.note(hand.session, lines[:700])
    await broker.note(hand.session, lines[700:])

    log = (await broker.notes(Ref("default", mine.id))).log
    assert [at for _, at, _ in log] == list(range(5, LOG_LINES + 5))


@case("C467", "a note under a stale lease is not written", promises=(4,))
async def a_note_under_a_stale_lease_is_not_written(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)
    new = await hand.claim_one()

    answers = await broker.note(
        hand.session,
        [
            Step(lease=lease(old), name="charge", data=b"1"),
            Progress(lease=lease(old), data=b"1"),
            LogLine(lease=lease(old), at=1, text="late"),
        ],
    )

    for answer in answers:
        assert isinstance(answer, Conflict)
        assert answer.record is not None
        assert answer.record.head == new.head
    assert await broker.notes(ref(old.job)) == Notes()


@case("C468", "a note about a job that does not run is not written")
async def a_note_about_a_job_that_does_not_run_is_not_written(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job())

    (answer,) = await broker.note(hand.session, [Progress(lease=lease(record), data=b"1")])

    assert isinstance(answer, Conflict)
    assert await broker.notes(ref(record.job)) == Notes()


@case("C469", "a note about an unknown job conflicts with nothing")
async def a_note_about_an_unknown_job_conflicts_with_nothing(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    nobody = Lease("default", "nobody", 2)

    answers = await broker.note(hand.session, [Progress(lease=nobody, data=b"1")])

    assert list(answers) == [Conflict(record=None)]


@case("C470", "answers stand in the order of the notes")
async def answers_stand_in_the_order_of_the_notes(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    mine = lease(await hand.claim_one())
    stale = Lease(mine.queue, mine.id, 1)

    answers = await broker.note(
        hand.session,
        [
            Step(lease=mine, name="a", data=b"1"),
            Progress(lease=stale, data=b"1"),
            Step(lease=mine, name="a", data=b"2"),
        ],
    )

    assert [type(answer) for answer in answers] == [Noted, Conflict, Noted]
    assert answers[2] == Noted(existing=b"1")


@case("C471", "a note leaves the fence")
async def a_note_leaves_the_fence(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()

    await broker.note(hand.session, [Step(lease=lease(record), name="a", data=b"1")])

    assert list(await broker.get([ref(record.job)])) == [record]


@case("C472", "an unknown job has no notes")
async def an_unknown_job_has_no_notes(lab: Lab) -> None:
    broker = lab.broker
    assert await broker.notes(Ref("default", "nobody")) == Notes()


@case("C473", "notes go with the record")
async def notes_go_with_the_record(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())
    record = await hand.claim_one()
    await broker.note(hand.session, [Step(lease=lease(record), name="a", data=b"1")])
    await hand.end(record, Succeeded())
    (done,) = await broker.get([ref(record.job)])
    assert done is not None

    await hand.end(done, DiscardAsked())

    assert await broker.notes(ref(record.job)) == Notes()
