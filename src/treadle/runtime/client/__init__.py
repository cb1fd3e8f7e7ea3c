"""The client: what enqueues jobs, waits for them and asks something of them."""

from __future__ import annotations

from treadle.runtime.client.ask import Done, done
from treadle.runtime.client.client import Client
from treadle.runtime.client.ending import Decode, plain_json
from treadle.runtime.client.lane import refuse_weaker

__all__ = ["Client", "Decode", "Done", "done", "plain_json", "refuse_weaker"]
