"""What a handler raises to say how its attempt shall end.

They are ordinary exceptions: `except Exception` around one catches it, and dependencies see it as
a failure. Raised `from` another exception, that one is what the history shows.
"""

from __future__ import annotations

from datetime import datetime

from treadle.domain.job import After, At
from treadle.errors import ConfigurationError
from treadle.runtime.duration import Duration, Moment, to_due, to_instant


class Signal(Exception):
    """The root of what handlers raise on purpose."""


class Retry(Signal):
    """Fail this attempt and try again, whatever `retry_on` and `give_up_on` say.

    `after` is a number of seconds, a timedelta or an aware datetime; without it the job's own policy
    chooses the delay. The attempt counts: after the last one the job is dead.
    """

    def __init__(self, detail: str = "", *, after: Moment | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.due: After | At | None = None if after is None else to_due(after, "Retry(after=...)")


class Snooze(Signal):
    """Run the job again later; no attempt is used up.

    Give `after` (seconds or a timedelta) or `until` (an aware datetime).
    """

    def __init__(self, after: Duration | None = None, *, until: datetime | None = None) -> None:
        super().__init__()
        self.due: After | At
        if after is not None and until is None:
            self.due = to_due(after, "Snooze(after)")
        elif until is not None and after is None:
            self.due = to_instant(until, "Snooze(until=...)")
        else:
            raise ConfigurationError("Snooze needs one of `after` and `until`")


class GiveUp(Signal):
    """End the job now, without another attempt: it is dead, `given_up`, and can be retried by hand."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Cancel(Signal):
    """End the job as cancelled: nobody wants its result any more."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
