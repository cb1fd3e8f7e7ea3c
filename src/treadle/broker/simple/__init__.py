"""A base for brokers on any store that sorts keys and has transactions: what such brokers share.

    class AcmeBroker(SimpleBroker):
        capabilities = frozenset({Capability.DURABLE, Capability.SHARED, Capability.FUSED})

        def storage(self) -> Storage:
            return AcmeStorage(self.url)

        async def describe(self) -> Description: ...

It is written to be obviously right rather than fast: each call is one transaction in a thread, and a
claim that waits looks again every now and then. Who needs more replaces methods, or implements the
whole protocol; the conformance kit tells whether it is still the same broker.
"""

from __future__ import annotations

from treadle.broker.simple.broker import SimpleBroker
from treadle.broker.simple.storage import Storage, Transaction

__all__ = ["SimpleBroker", "Storage", "Transaction"]
