"""Where a SQLite broker lives: what its URL means in files."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

from treadle.broker.url import DEFAULT_NAMESPACE, BrokerUrl
from treadle.broker.values import Durability
from treadle.errors import BrokerRefused, ConfigurationError

_OPTIONS = ("busy_timeout", "durability", "max_pages")
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"nfs\d*|cifs|smb\d*|smbfs|afs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|ncpfs"
    r"|fuse\.(sshfs|glusterfs|ceph.*|s3fs|rclone|gcsfuse|smbnetfs)"
)
_SHARED = re.compile(r"9p|virtiofs|vboxsf|prl_fs|fuse\..*")


class Location(Struct, frozen=True, kw_only=True):
    """The files of one store, and how it shall be treated."""

    file: Path
    durability: Durability = Durability.POWER_LOSS
    busy_ms: int = 5_000
    """How long to wait for a lock that somebody else holds."""
    max_pages: int = 0
    """The file may have so many pages of 4 KiB; 0 = any number."""

    @property
    def lock(self) -> Path:
        """Return the file whose lock everybody holds who writes."""
        return self.beside(".lock")

    @property
    def wal(self) -> Path:
        """Return SQLite's write-ahead log."""
        return self.beside("-wal")

    @property
    def wake(self) -> Path:
        """Return the directory of the sockets that wake waiting claims."""
        return self.beside(".wake")

    def beside(self, ending: str) -> Path:
        """Return the file of this name with something more at its end."""
        return self.file.with_name(self.file.name + ending)


def locate(url: BrokerUrl) -> Location:
    """Read a `sqlite://` URL. Relative paths are taken from the directory of now.

    Raises:
        ConfigurationError: if the URL names no file, or an option cannot be read.
    """
    url.refuse_unknown(_OPTIONS)
    if url.host:
        raise ConfigurationError(
            f"{url}: a file needs three slashes: sqlite:///{url.host}/{url.path}".rstrip("/")
            + " (four for an absolute path)"
        )
    if not url.path or url.path.endswith("/"):
        raise ConfigurationError(f"{url} names no file. Examples: sqlite:///jobs.db")
    if url.path == ":memory:":
        raise ConfigurationError(f"{url}: use memory:// for jobs that live in one process")
    file = Path(url.path).absolute()
    if url.namespace != DEFAULT_NAMESPACE:
        file = file.with_name(f"{file.stem}.{url.namespace}{file.suffix}")
    levels = (Durability.PROCESS, Durability.POWER_LOSS)
    level = url.option("durability", Durability.POWER_LOSS, tuple(map(str, levels)))
    return Location(
        file=file,
        durability=Durability(level),
        busy_ms=_number(url, "busy_timeout", 5_000),
        max_pages=_number(url, "max_pages", 0),
    )


def _number(url: BrokerUrl, name: str, default: int) -> int:
    text = url.options.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise ConfigurationError(f"{url}: option {name}={text!r} is no whole number")
    return int(text)


def refuse_network(location: Location, mounts: Path = _MOUNTS) -> str | None:
    """Refuse a file on a network mount; return a warning if it may be one of another machine.

    The write-ahead log needs memory that all processes share, so it works on local disks only.

    Raises:
        BrokerRefused: if the file lies on a network file system.
    """
    kind = _file_system(location.file, mounts)
    if _NETWORK.fullmatch(kind):
        raise BrokerRefused(
            f"{location.file} lies on a network mount ({kind}): SQLite's write-ahead log needs a local"
            " disk. Move the file, or use a broker with a server (redis://, nats://)"
        )
    if _SHARED.fullmatch(kind):
        return f"the file lies on {kind}: use it from one machine only"
    return None


def _file_system(file: Path, mounts: Path) -> str:
    """Name the type of the file system that holds `file`; "" where nobody says."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    path = str(file.parent.resolve())
    best, kind = "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ", 1)[0]
    return kind
