"""The endpoints of a profile, as operations: guarded, limited and documented like all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.profile import Asked, Endpoint, Profile
from treadle_web.guard import OPEN
from treadle_web.operation import Ask, Operation, Reply, Scope, operation, reply
from treadle_web.problems import Refusal


def with_profile(operations: Sequence[Operation], profile: Profile | None) -> tuple[Operation, ...]:
    """Return the operations of a server; where a profile serves the same, its own stands in their place."""
    if profile is None:
        return tuple(operations)
    own = [_operation(profile, one) for one in profile.endpoints]
    taken = {(one.method, one.path) for one in own}
    return (*own, *(one for one in operations if (one.method, one.path) not in taken))


def _operation(profile: Profile, endpoint: Endpoint) -> Operation:
    async def answer(ask: Ask[Any, Any]) -> Reply:
        if not ask.who.may_use(ask.web.jobs.settings.worker.queues[0]):
            raise Refusal(403, "forbidden", "this token is not for the queue of this profile")
        asked = Asked[Any, Any](
            jobs=ask.web.jobs,
            client=ask.web.client,
            settings=ask.web.jobs.settings,
            path=ask.path,
            query=ask.query,
            body=ask.body,
        )
        value = await endpoint.answers(asked)
        if isinstance(value, str) and endpoint.answer is None:
            text = endpoint.media_type
            return Reply(status=endpoint.status, content=value.encode(), media_type=text)
        return reply(value, endpoint.status)

    answer.__name__ = f"{profile.name}_{endpoint.name}"
    answer.__doc__ = endpoint.summary
    changes = endpoint.method != "GET"
    return operation(
        endpoint.method,
        endpoint.path,
        scope=None if endpoint.path in OPEN else Scope.ENQUEUE if changes else Scope.READ,
        query=endpoint.query,
        body=endpoint.body,
        answer=endpoint.answer,
        media_type=endpoint.media_type,
        status=(endpoint.status,),
        problems=(*((404,) if not changes else (507,)),),
    )(answer)
