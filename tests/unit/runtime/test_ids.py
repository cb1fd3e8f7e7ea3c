"""Ids are UUIDv7 text, grow inside a process, and never repeat, also across threads and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid

import pytest

from treadle.domain.limits import JOB_ID
from treadle.runtime import clock
from treadle.runtime.ids import Ids, new_id, new_ids


def test_an_id_is_a_uuid_of_version_7_that_every_broker_accepts() -> None:
    made = new_id()

    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert str(uuid.UUID(made)) == made
    assert JOB_ID.fullmatch(made)


def test_the_first_48_bits_are_the_time_in_ms() -> None:
    before = clock.wall_ns() // 1_000_000
    stamp = uuid.UUID(new_id()).int >> 80
    after = clock.wall_ns() // 1_000_000

    assert before <= stamp <= after


def test_ids_of_one_thread_grow() -> None:
    made = [new_id() for _ in range(20_000)] + new_ids(1_000)

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_grow_also_when_the_wall_clock_jumps_back() -> None:
    times = [5_000_000_000, 1, 5_000_000_000, 4_999_999_999]
    ids = Ids(lambda: times.pop(0))

    made = [ids.new(), ids.new(), *ids.many(2), ids.new()]

    assert made == sorted(set(made))


def test_threads_never_make_the_same_id() -> None:
    made: list[list[str]] = []

    def make() -> None:
        made.append([new_id() for _ in range(5_000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [one for part in made for one in part]
    assert len(set(everything)) == len(everything) == 20_000


_FORKS = """
import os
from treadle.runtime import ids
ids._own._now_ns = lambda: 1  # no new millisecond begins
new_id = ids.new_id
new_id()
read, write = os.pipe()
child = os.fork()
made = [new_id() for _ in range(200)]
if child == 0:
    os.write(write, "\\n".join(made).encode())
    os._exit(0)
os.close(write)
text = b""
while part := os.read(read, 65536):
    text += part
os.waitpid(child, 0)
print(len(set(made) | set(text.decode().split("\\n"))))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKS], capture_output=True, text=True, timeout=240, check=True
    )

    assert done.stdout.strip() == "400"


def test_many_ids_are_those_that_come_one_by_one() -> None:
    ids = Ids()

    made = [one for n in (1, 255, 256, 257, 1_000) for one in [*ids.many(n), ids.new()]]

    assert made == sorted(set(made))
    assert len(made) == 1_769 + 5
    assert all(uuid.UUID(one).version == 7 and str(uuid.UUID(one)) == one for one in made)
