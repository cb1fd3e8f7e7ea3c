"""The thread that writes: many callers' operations in one transaction.

Each round takes the side lock, begins, runs every operation that is laid out, and commits. An
operation that fails is undone alone. If the transaction as a whole fails (the disk is full), its
operations are tried again one by one, so that one that is too large does not take others with it.

What became claimable is told to the waiting claims of other processes just before the commit, once for
the whole round: while the disk works they wake up and come as far as the side lock, which they get
when all is committed. A commit that fails has woken them for nothing. Who reads events takes no lock,
and is told after the commit.

A lock that somebody keeps for longer than the busy timeout fails the operations that have not begun;
they had no effect, and the callers know it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

from treadle.broker.base import Clock
from treadle.broker.sqlite.bulk import store_plain
from treadle.broker.sqlite.connection import Connection, open_writer, prepare_directory
from treadle.broker.sqlite.desk import Ask, Desk
from treadle.broker.sqlite.location import Location
from treadle.broker.sqlite.lock import SideLock, StaleLock
from treadle.broker.sqlite.operations import Enqueue, Outside, Write
from treadle.broker.sqlite.patience import Patience
from treadle.broker.sqlite.sameness import Sameness
from treadle.broker.sqlite.space import Space
from treadle.broker.sqlite.transaction import Effects, Transaction
from treadle.broker.sqlite.trouble import DamagedFence, breaks_connection, is_full, translate
from treadle.broker.sqlite.wake import Ringer
from treadle.broker.values import Durability
from treadle.errors import BrokerUnavailable, TreadleError, Uncertain

T = TypeVar("T")

_FULL, _NORMAL = 2, 1


class Writer(Desk):
    """The only thread of a broker that writes."""

    closes_last = True

    def __init__(self, location: Location, clock: Clock, ringer: Ringer) -> None:
        super().__init__("treadle-sqlite-writer")
        self._location = location
        self._clock = clock
        self.ringer = ringer
        """Wakes who waits in other processes."""
        self._lock = SideLock(location.lock)
        self._patience = Patience(location.busy_ms / 1_000, self._give_up)
        self._space = Space(location)
        self._connection: Connection | None = None
        self._sameness = Sameness(location)
        self._turn = Lock()
        self.waiting: Sequence[Ask[Any]] = ()
        """What has not begun because the lock is held by somebody else."""
        self._has_events = False
        self.on_commit: Callable[[Effects], None] | None = None
        """Called on the loop after each commit that others of this broker may wait for."""

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run an operation in a transaction, with those of others."""
        return await self.ask(Write(work, durable=durable))

    async def outside(self, work: Callable[[Connection], T]) -> T:
        """Run `work` under the lock, between transactions."""
        return await self.ask(Outside(work))

    def serve(self, asks: Sequence[Ask[Any]]) -> Callable[[], object] | None:
        try:
            with self.gate:
                asks = self._take_lock(asks)
                try:
                    return self._serve_locked(asks) if asks else None
                finally:
                    self._lock.release()
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, OSError):
                self._lock.close()  # its file may be another one now
            if isinstance(error, StaleLock):
                self._close()  # erased: no other process can meet what has no name
            self._fail(asks, error)
            return None

    def afterwards(self) -> None:
        """Tell readers of events, who are in less of a hurry than the callers."""
        if self._has_events:
            self._has_events = False
            self.ringer.ring_readers()

    def release(self) -> None:
        if self._connection is not None:
            try:
                with suppress(StaleLock):
                    self._lock.acquire()
                self._close()
            finally:
                self._lock.release()
        self._lock.close()
        self.ringer.close()
        self._patience.end()

    # -- the lock

    def _take_lock(self, asks: Sequence[Ask[Any]]) -> Sequence[Ask[Any]]:
        """Take the side lock; return what may still be begun with."""
        if self._connection is None:
            prepare_directory(self._location)
        if self._lock.try_acquire():
            return asks
        with self._turn:
            self.waiting = asks
        self._patience.begin()
        try:
            self._lock.acquire()
        finally:
            self._patience.stop()
            with self._turn:
                left, self.waiting = self.waiting, ()
        return [ask for ask in left if not ask.dropped]

    def _give_up(self) -> None:
        """Fail what has waited for the lock too long (called from another thread)."""
        with self._turn:
            asks, self.waiting = self.waiting, ()
        self.fail_all(
            asks,
            BrokerUnavailable(
                f"{self._location.file} is being written by another process for more than"
                f" {self._location.busy_ms} ms: is one stopped (Ctrl-Z, a debugger)? Nothing was written"
            ),
        )

    # -- one round

    def _serve_locked(self, asks: Sequence[Ask[Any]]) -> Callable[[], object] | None:
        if self._connection is not None:
            self._check_file()
        outside = [ask for ask in asks if isinstance(ask, Outside)]
        writes = [ask for ask in asks if isinstance(ask, Write)]
        effects = self._round(writes) if writes else None
        for ask in outside:
            self._run_outside(ask)
        if effects is None:
            return None
        self._has_events = bool(effects.entries)
        on_commit = self.on_commit
        return None if on_commit is None else lambda: on_commit(effects)

    def _round(self, writes: Sequence[Write[Any]]) -> Effects | None:
        """Run operations in one transaction; if that fails as a whole, each in one of its own."""
        try:
            return self._commit(writes)
        except (sqlite3.Error, OSError) as error:
            self._roll_back(error)
            if len(writes) == 1 or breaks_connection(error):
                self._fail(writes, error)
                return None
        total = Effects()
        for write in writes:
            try:
                total.add(self._commit([write]))
            except (sqlite3.Error, OSError) as error:
                self._roll_back(error)
                self._fail([write], error)
        return total

    def _commit(self, writes: Sequence[Write[Any]]) -> Effects:
        connection = self._ready()
        self._set_level(connection, durable=any(write.durable for write in writes))
        connection.raw.execute("BEGIN IMMEDIATE")
        tx = Transaction(connection, self._clock.time_ms())
        alone = len(writes) == 1
        for write in self._stored(tx, writes):
            if not self._run(tx, write, alone=alone) and alone:
                tx.undo_all()
                return tx.total
        if tx.total.everybody or tx.total.rung:
            self.ringer.ring(None if tx.total.everybody else tx.total.rung)
        tx.finish()
        try:
            connection.raw.execute("COMMIT")
        except sqlite3.Error as error:
            if not is_full(error):
                self._doubt(writes, error)
            raise
        return tx.total

    def _stored(self, tx: Transaction, writes: Sequence[Write[Any]]) -> Sequence[Write[Any]]:
        """Refuse new jobs if room is short; store those of several callers at once; return the rest."""
        batches = [write for write in writes if isinstance(write, Enqueue)]
        if not batches:
            return writes
        others = [write for write in writes if not isinstance(write, Enqueue)]
        shortage = self._space.shortage(tx.connection)
        if shortage is not None:
            for batch in batches:
                batch.answer_refused(tx.now, shortage)
            return others
        if len(batches) == 1 or not self._store_together(tx, batches):
            return writes
        return others

    def _store_together(self, tx: Transaction, batches: Sequence[Enqueue]) -> bool:
        """Store the jobs of several callers in one go, or none of them if anything speaks against it."""
        tx.begin()
        try:
            is_stored = store_plain(tx, [job for batch in batches for job in batch.jobs])
        except (sqlite3.Error, OSError):
            raise
        except Exception:  # noqa: BLE001 - it is raised again for the one whose job it was
            is_stored = False
        if not is_stored:
            tx.undo()
            return False
        tx.keep()
        for batch in batches:
            batch.answer_stored(tx)
        return True

    def _run(self, tx: Transaction, write: Write[Any], *, alone: bool) -> bool:
        """Run one operation; one that fails is undone and leaves its neighbours alone.

        One that is alone in its transaction needs no savepoint: False says that all is to be undone.
        """
        if not alone:
            tx.begin()
        try:
            answer = write.work(tx)
        except (sqlite3.Error, OSError) as error:
            if breaks_connection(error) or is_full(error) or not tx.connection.raw.in_transaction:
                raise
            write.fail(translate(error, self._location))
        except DamagedFence as error:
            write.fail(translate(error, self._location))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            write.fail(error)
        else:
            tx.accept() if alone else tx.keep()
            write.answer(answer)
            return True
        if not alone:
            tx.undo()
        return False

    def _run_outside(self, ask: Outside[Any]) -> None:
        try:
            connection = self._ready()
            self._set_level(connection, durable=True)
            ask.answer(ask.work(connection))
        except (sqlite3.Error, OSError) as error:
            self._fail([ask], error)

    # -- what goes wrong

    def _fail(self, asks: Sequence[Ask[Any]], error: Exception) -> None:
        """Answer all with what went wrong; a full disk refuses what wanted to add to the store."""
        told = translate(error, self._location)
        for ask in asks:
            if isinstance(ask.error, Uncertain):
                continue
            if is_full(error) and isinstance(ask, Enqueue):
                ask.answer_refused(self._clock.time_ms(), str(told))
            else:
                ask.fail(_copied(told))

    def _doubt(self, writes: Sequence[Write[Any]], error: sqlite3.Error) -> None:
        """Say of a commit that failed half-way that it may still be found in the log after a crash."""
        for write in writes:
            if isinstance(write, Enqueue):
                ids = [job.id for job in write.jobs]
                write.fail(Uncertain(str(translate(error, self._location)), ids=ids))

    def _roll_back(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        connection.names.forget()
        try:
            if connection.raw.in_transaction:
                connection.raw.execute("ROLLBACK")
        except sqlite3.Error:
            self._close()
        if breaks_connection(error):
            self._close()

    # -- the connection

    def _ready(self) -> Connection:
        if self._connection is None:
            self._connection = open_writer(self._location)
            self._sameness.remember()
        return self._connection

    def _set_level(self, connection: Connection, *, durable: bool) -> None:
        powerful = self._location.durability is Durability.POWER_LOSS
        connection.set_level(_FULL if durable and powerful else _NORMAL)

    def _check_file(self) -> None:
        try:
            self._sameness.check()
        except OSError:
            self._close()
            raise

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _copied(error: TreadleError) -> TreadleError:
    """Return an error of its own for each caller: tracebacks grow on those that are raised."""
    return type(error)(*error.args)
