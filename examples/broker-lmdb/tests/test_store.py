"""What the kit cannot see, because it speaks to the broker and not to its store."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb
import pytest
from treadle_example_lmdb.store import LmdbStorage, adding

from treadle.broker.simple import Transaction
from treadle.errors import BrokerRefused, StorageFull

MIB = 1 << 20


def storage(folder: Path, namespace: str = "here", mib: int = 16) -> LmdbStorage:
    return LmdbStorage(folder, namespace, mib * MIB)


def everything(transaction: Transaction, *, reverse: bool = False) -> list[bytes]:
    return [key for key, _ in transaction.scan(b"", b"\xff", reverse=reverse)]


def fill(store: LmdbStorage, name: bytes) -> int:
    for number in range(100_000):
        try:
            with store.transaction(write=True) as transaction:
                transaction.put(name + number.to_bytes(4, "big"), bytes(3_000))
        except StorageFull:
            return number
    raise AssertionError("it is never full")


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = storage(tmp_path)

    def fail() -> None:
        with store.transaction(write=True) as transaction:
            transaction.put(b"a", b"1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    with store.transaction(write=False) as transaction:
        assert everything(transaction) == []
    store.close()


def test_keys_of_any_length_are_kept_apart_and_in_order(tmp_path: Path) -> None:
    store = storage(tmp_path, "n" * 64)
    long = [b"b" * 400 + last for last in (b"", b"x", b"x" * 300, b"y" * 300)]

    with store.transaction(write=True) as transaction:
        for key in (b"c", *long, b"a"):
            transaction.put(key, b"value of " + key)

    with store.transaction(write=True) as transaction:
        keys = everything(transaction)
        assert keys[0] == b"a"
        assert sorted(keys[1:5]) == long
        assert keys[5:] == [b"c"]
        assert everything(transaction, reverse=True) == keys[::-1]
        assert [transaction.get(key) for key in keys] == [b"value of " + key for key in keys]
        transaction.delete(long[2])
        assert transaction.get(long[2]) is None
        assert len(everything(transaction)) == 5
    store.close()


def test_a_scan_ends_before_its_end_and_before_the_next_namespace(tmp_path: Path) -> None:
    stores = [storage(tmp_path, name) for name in ("a", "a-b", "b")]
    for store in stores:
        with store.transaction(write=True) as transaction:
            transaction.put(b"1", b"")
            transaction.put(b"2", b"")

    stores[1].erase()

    for store, keys in zip(stores, ([b"1", b"2"], [], [b"1", b"2"]), strict=True):
        with store.transaction(write=False) as transaction:
            assert everything(transaction) == everything(transaction, reverse=True)[::-1] == keys
            assert [key for key, _ in transaction.scan(b"1", b"2")] == keys[:1]
        store.close()


def test_a_full_file_refuses_what_is_new_and_still_lets_go(tmp_path: Path) -> None:
    store = storage(tmp_path, mib=1)
    token = adding.set(True)
    new = fill(store, b"new")
    adding.reset(token)

    more = fill(store, b"more")
    with store.transaction(write=True) as transaction:
        for number in range(new):
            transaction.delete(b"new" + number.to_bytes(4, "big"))

    assert new > 3 * more > 0
    assert fill(store, b"again") > more
    with store.transaction(write=False) as transaction:
        kept = {key for key in everything(transaction) if key.startswith(b"more")}
    assert len(kept) == more
    store.close()


def test_a_child_that_was_forked_writes_beside_its_parent(tmp_path: Path) -> None:
    store = storage(tmp_path)
    store.open()

    child = os.fork()
    with store.transaction(write=True) as transaction:
        transaction.put(b"child" if child == 0 else b"parent", b"")
    if child == 0:
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    with store.transaction(write=False) as transaction:
        assert everything(transaction) == [b"child", b"parent"]
    store.close()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as other, other.begin(write=True) as transaction:
        transaction.put(b"theirs", b"1")
    store = storage(tmp_path)

    with pytest.raises(BrokerRefused, match="another program"):
        store.open()

    store.close()
