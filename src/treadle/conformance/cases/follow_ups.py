"""Follow-ups are stored in the step that ends their parent, or not at all."""

from __future__ import annotations

from treadle.broker.base import Conflict
from treadle.conformance.case import Level, case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import HANDED_BACK, act, known, make_job, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import After, Ref
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State


@case("C325", "follow ups are stored with their parent", level=Level.FLOW)
async def follow_ups_are_stored_with_their_parent(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    follow_ups = (make_job("a/1"), make_job("a/2", queue="mail", due=After(HOUR)))

    await hand.end(record, Succeeded(follow_ups=follow_ups))

    assert (await hand.claim_one()).job == follow_ups[0]
    assert (await known(broker, follow_ups[1])).head.state is State.WAITING


@case(
    "C326",
    "a follow up exists only if the change of its parent was applied",
    promises=(1,),
    level=Level.FLOW,
)
async def a_follow_up_exists_only_if_the_change_of_its_parent_was_applied(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    old = await hand.claim_one()
    await hand.end(old, HANDED_BACK)

    answer = await act(broker, old, Succeeded(follow_ups=(make_job("a/1"),)))

    assert isinstance(answer, Conflict)
    assert list(await broker.get([Ref("default", "a/1")])) == [None]


@case("C327", "a follow up whose id exists is left", level=Level.FLOW)
async def a_follow_up_whose_id_exists_is_left(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await stored(broker, make_job("a/1", payload=b'{"n":1}'))

    await hand.end(record, Succeeded(follow_ups=(make_job("a/1", payload=b'{"n":2}'),)))

    assert (await known(broker, Ref("default", "a/1"))).job.payload == b'{"n":1}'
