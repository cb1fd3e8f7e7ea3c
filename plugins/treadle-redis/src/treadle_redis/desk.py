"""What the duties of the broker share: connections, and how to write to and read from the scripts."""

from __future__ import annotations

from msgspec import Struct

from treadle_redis.address import Address
from treadle_redis.links import Links
from treadle_redis.records import Reader
from treadle_redis.wire import Wire


class Desk(Struct, frozen=True):
    """The tools of one broker."""

    address: Address
    links: Links
    wire: Wire
    reader: Reader
