"""What a job must be like before any broker hears of it; for batches, at the speed of C loops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

from treadle.domain.job import Job
from treadle.domain.limits import JOB_ID, NAME, PAYLOAD_DEPTH, TooDeep, check_depth
from treadle.errors import ConfigurationError, PayloadError, TooLarge

_REMEMBERED: Final = 4_096
_FEW: Final = 4
"""Up to so many are checked one by one: a batch pays off later."""
_ID_BYTES: Final = bytes(code for code in range(128) if JOB_ID.fullmatch(chr(code)))
_LONGEST_ID: Final = 128


class JobCheck:
    """Refuses what no broker may store; remembers the names that it has seen."""

    def __init__(self, payload_limit: int) -> None:
        self._limit = payload_limit
        self._names: set[str] = set()

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Check names, ids, and the size and depth of payloads.

        Raises:
            ConfigurationError: if a queue, type or id is no name.
            PayloadError: if a payload is nested too deep.
            TooLarge: if a payload is over the limit.
        """
        if len(jobs) <= _FEW:
            self._check_names(jobs)
            _check_ids(jobs)
            self._check_payloads(jobs)
            return
        names = {job.queue for job in jobs} | {job.type for job in jobs}
        if not names <= self._names:
            self._check_names(jobs)
        if not _are_ids([job.id for job in jobs]):
            _check_ids(jobs)
        payloads = [job.payload for job in jobs]
        if max(map(len, payloads)) > self._limit or not _are_flat(payloads):
            self._check_payloads(jobs)

    def _check_names(self, jobs: Sequence[Job]) -> None:
        known = self._names
        for job in jobs:
            if job.queue in known and job.type in known:
                continue
            for what, name in (("queue", job.queue), ("type", job.type)):
                if not NAME.fullmatch(name):
                    raise ConfigurationError(
                        f"{what} {name!r}: 1 to 128 letters, digits and _ . - are allowed"
                    )
                if len(known) < _REMEMBERED:
                    known.add(name)

    def _check_payloads(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if len(job.payload) > self._limit:
                raise TooLarge(
                    f"{job.type}: the payload has {len(job.payload)} bytes, the limit is {self._limit} "
                    "(setting `payload_limit`). Nothing was enqueued."
                )
            try:
                check_depth(job.payload)
            except TooDeep as error:
                text = f"{job.type}: the payload is {error}. Nothing was enqueued."
                raise PayloadError(text) from None


def _are_ids(ids: Sequence[str]) -> bool:
    try:
        strange = "".join(ids).encode("ascii").translate(None, _ID_BYTES)
    except UnicodeEncodeError:
        return False
    return not strange and all(ids) and max(map(len, ids)) <= _LONGEST_ID


def _check_ids(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not JOB_ID.fullmatch(job.id):
            raise ConfigurationError(
                f"job id {job.id!r}: 1 to 128 letters, digits and _ . : / - are allowed"
            )


def _are_flat(payloads: Sequence[bytes]) -> bool:
    """Tell whether no payload has brackets enough to be nested too deep."""
    most = PAYLOAD_DEPTH // 2
    objects = max(map(bytes.count, payloads, repeat(b"{")))
    return objects <= most and max(map(bytes.count, payloads, repeat(b"["))) <= most
