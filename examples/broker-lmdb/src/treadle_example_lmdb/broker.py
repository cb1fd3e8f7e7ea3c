"""What this broker is: the base does the work, this file says where and what is promised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import lmdb

from treadle.broker.base import Capability, Clock, Description, Durability, Enqueued
from treadle.broker.simple import SimpleBroker, Storage
from treadle.broker.url import BrokerUrl
from treadle.domain.job import Job
from treadle.errors import BrokerRefused, ConfigurationError
from treadle_example_lmdb.store import LmdbStorage, adding

_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs"})


class LmdbBroker(SimpleBroker):
    """Jobs in an LMDB file, shared by the processes of one machine."""

    capabilities = frozenset({Capability.DURABLE, Capability.SHARED, Capability.FUSED})
    max_record = 4 * 1024 * 1024
    poll_ms = 50

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url, clock)
        url.refuse_unknown(("map_mib",))
        if url.host or not url.path:
            raise ConfigurationError(f"{url}: name a folder, as in lmdb:////var/lib/jobs")
        size = url.option("map_mib", "1024")
        if not size.isdecimal() or not 1 <= int(size) <= 1 << 24:
            raise ConfigurationError(f"{url}: map_mib is a number of MiB, 1 to {1 << 24}")
        self._folder = Path(url.path).resolve()
        self._size = int(size) << 20

    def storage(self) -> Storage:
        """Return the store that the URL names, not yet opened."""
        return LmdbStorage(self._folder, self.url.namespace, self._size)

    async def connect(self) -> None:
        """Make the file ready; refuse one that other machines may map too."""
        if (found := _file_system(self._folder)) in _REMOTE:
            raise BrokerRefused(f"{self._folder} is on {found}; LMDB needs a disk of this machine")
        await super().connect()

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store new jobs, but not in the room that is kept for running those that are there."""
        token = adding.set(True)
        try:
            return await super().enqueue(jobs)
        finally:
            adding.reset(token)

    async def describe(self) -> Description:
        """Say what the file promises where it lies."""
        found = _file_system(self._folder)
        gone, mib = found in {"tmpfs", "ramfs"}, f"{self._size >> 20} MiB"
        return Description(
            name="lmdb",
            version=".".join(map(str, lmdb.version())),
            durability=Durability.PROCESS if gone else Durability.POWER_LOSS,
            detail=(("folder", f"{self._folder}, on {found or 'unknown'}"), ("map", mib)),
            warnings=(f"{self._folder} is on {found}: gone with the machine",) if gone else (),
        )


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path is or will be on, "" where nobody says."""
    device = next(place for place in (path, *path.parents) if place.exists()).stat().st_dev
    mounts = Path("/proc/self/mountinfo")
    for mount in mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else ():
        fields = mount.split()
        if fields[2] == f"{os.major(device)}:{os.minor(device)}":
            return fields[fields.index("-") + 1]
    return ""
