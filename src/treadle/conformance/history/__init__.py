"""Histories: every call to a broker as it was asked and answered, and the laws that they keep.

recorder = Recorder(broker)      # a broker like the one inside; `another()` shares the history
...                              # use it in any way
await recorder.scan()            # at the end: read everything that the store holds
assert not check(recorder.history.calls, drained=True)
"""

from treadle.conformance.history.events import Answer, Call, How
from treadle.conformance.history.laws import LAWS, Violation, check
from treadle.conformance.history.recorder import History, Recorder

__all__ = ["LAWS", "Answer", "Call", "History", "How", "Recorder", "Violation", "check"]
