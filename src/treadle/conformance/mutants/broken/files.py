"""Files that lie: SQLite brokers whose tables, triggers or transactions break a promise."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from msgspec import structs

from treadle.broker.base import Clock
from treadle.broker.sqlite.wake import Ringer
from treadle.broker.url import BrokerUrl
from treadle.broker.values import Applied, Claimed, Conflict, Settled, Turned
from treadle.conformance.mutants.loose import LooseFile
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import Record, Ref
from treadle.domain.outcome import Write


@mutant("M77", case="C333")
class CheckedThenWritten(LooseFile):
    """Fences are compared before the transaction that writes, not in it."""

    async def apply(self, writes: Sequence[Write]) -> Settled:
        seen = await self.get([Ref(write.queue, write.id) for write in writes])
        settled = await super().apply(writes)
        results = [
            Applied(fence=write.fence + 1) if _was_overtaken(found, write, result) else result
            for found, write, result in zip(seen, writes, settled.results, strict=True)
        ]
        return structs.replace(settled, results=results)


def _was_overtaken(seen: Record | None, write: Write, answer: object) -> bool:
    """Tell whether the fence that was seen matched, and the one that was met did not."""
    return (
        isinstance(answer, Conflict)
        and answer.record is not None
        and seen is not None
        and seen.head.fence == write.fence != answer.record.head.fence
    )


@mutant("M78", case="C614")
class PausesStayInTheProcess(LooseFile):
    """A pause is known to the broker object that was asked for it, and to no other."""

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url, clock)
        self._paused: set[str] = set()

    async def pause(self, queue: str, paused: bool) -> None:
        await super().pause(queue, paused=False)
        (self._paused.add if paused else self._paused.discard)(queue)

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        return await super().claim(session, self._open(queues), limit, wait_ms)

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        return await super().turn(session, writes, self._open(queues), limit)

    def _open(self, queues: Sequence[str]) -> list[str]:
        return [queue for queue in queues if queue not in self._paused]


class _Dumb(Ringer):
    """Tells nobody who claims."""

    def ring(self, names: AbstractSet[str] | None) -> None:
        return


@mutant("M79", case="C260")
class OthersAreNotTold(LooseFile):
    """What is stored does not wake the claims of other broker objects."""

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url, clock)
        self.fallback_seconds = 0.4  # nobody has to wait long to see that nothing wakes
        self._writer.ringer = _Dumb(self._location)


@mutant("M80", case="C217")
class PlacesAreStale(LooseFile):
    """A job that is moved in time keeps its old place."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant AFTER UPDATE OF due ON job
        WHEN old.state = 1 AND new.state = 1 AND new.due > old.due
        BEGIN UPDATE job SET due = old.due WHERE seq = new.seq; END;
    """


@mutant("M81", case="C473")
class NotesOutliveTheirRecord(LooseFile):
    """The steps of a removed record stay, and belong to whatever is stored in its place."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant BEFORE DELETE ON step
        BEGIN SELECT raise(IGNORE); END;
    """


@mutant("M82", case="C382")
class CountsDrift(LooseFile):
    """A removal does not change the counts of its queue."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant AFTER UPDATE OF state ON job
        WHEN old.state BETWEEN 3 AND 5 AND new.state >= 10
        BEGIN
            UPDATE queue SET
                succeeded = succeeded + (old.state = 3), dead = dead + (old.state = 4),
                cancelled = cancelled + (old.state = 5)
            WHERE id = new.queue;
        END;
    """


@mutant("M83", case="C314")
class HistoryRowsAreLost(LooseFile):
    """Only the last history row of a job is kept."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant BEFORE INSERT ON history
        BEGIN SELECT raise(IGNORE); END;
    """


@mutant("M84", case="C445")
class NobodySaysWhoTookTheName(LooseFile):
    """A session whose name was taken is told that it was closed."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant AFTER UPDATE OF taken ON session
        BEGIN UPDATE session SET taken = 0 WHERE id = new.id; END;
    """


@mutant("M85", case="C709")
class MemoriesAreShort(LooseFile):
    """The id of a record that was dropped is free at once."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant AFTER UPDATE OF state ON job
        WHEN new.state >= 10
        BEGIN DELETE FROM job WHERE seq = new.seq; END;
    """


@mutant("M86", case="C263")
class RunningJobsAreNotCounted(LooseFile):
    """Of a concurrency key one job more may run than its limit says."""

    triggers = """
        CREATE TRIGGER IF NOT EXISTS mutant AFTER INSERT ON climit
        BEGIN UPDATE climit SET most = most + 1 WHERE key = new.key; END;
    """


@mutant("M88", case="C713")
class FencesStayInTheProcess(LooseFile):
    """Who connects gives ids that were forgotten the fences of their first life again."""

    triggers = "UPDATE meta SET value = 0 WHERE name = 'fence';"
