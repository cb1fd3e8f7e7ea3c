"""A fence is all that a broker compares: also a success of what it does not know as running is stored.

A store that forgot its last writes in a crash may be told so: it gives a fence again, to another head.
"""

from __future__ import annotations

import pytest

from treadle.broker.base import Applied, Broker
from treadle.conformance.hand import Hand, known, make_job, stored
from treadle.domain.job import NEVER, At, Ref
from treadle.domain.outcome import Change
from treadle.domain.state import Event, State

pytestmark = pytest.mark.anyio


async def test_a_success_under_the_fence_of_a_waiting_job_leaves_no_torn_store(
    broker: Broker, hand: Hand
) -> None:
    job = make_job("a")
    await stored(broker, job, make_job("b"))
    success = Change(
        queue=job.queue,
        id=job.id,
        fence=(await known(broker, job)).head.fence,
        event=Event.SUCCEED,
        state=State.SUCCEEDED,
        due=At(NEVER),
        attempt=1,
    )

    (answer,) = (await broker.apply([success])).results

    assert isinstance(answer, Applied)
    (record,) = await broker.get([Ref("default", "a")])
    assert record is not None
    assert record.head.state is State.SUCCEEDED
    assert (await hand.claim_one()).job.id == "b"
    (counts,) = (await broker.stats()).queues
    assert (counts.waiting, counts.running, counts.succeeded) == (0, 1, 1)
