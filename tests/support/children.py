"""Handlers that children run: a child imports this module by its name."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
from anyio import lowlevel

from treadle import Context, Depends
from treadle.errors import LeaseLost
from treadle.runtime.registry import Registry
from treadle.runtime.signals import Snooze

registry = Registry()


@registry.handler("child.pid", run_in="process")
def pid(a: int = 0) -> list[int]:
    return [a, os.getpid()]


@registry.handler("child.fails", run_in="process")
def fails(message: str) -> None:
    raise ValueError(message)


@registry.handler("child.snoozes", run_in="process")
def snoozes() -> None:
    raise Snooze(3)


@registry.handler("child.talks", run_in="process")
def talks(ctx: Context) -> list[Any]:
    ctx.progress(1, 2, "half")
    ctx.log(f"attempt {ctx.attempt}")
    return [ctx.job_id, ctx.attempt]


@registry.handler("child.waits", run_in="process")
def waits(ctx: Context) -> None:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ctx.log(f"{os.getpid()} {grandchild.pid}")
    time.sleep(60)


@registry.handler("child.dies", run_in="process")
def dies(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "cpu":
            while True:
                pass
        case _:
            raise SystemExit(4)


@registry.handler("child.eats", run_in="process")
def eats() -> int:
    return len(bytearray(2**31))


async def charge(amount: int) -> int:
    return amount


def get_file() -> Iterator[str]:
    yield "file"


async def get_db(file: str = Depends(get_file)) -> AsyncIterator[str]:
    await lowlevel.checkpoint()
    yield f"db on {file}"


@registry.handler("child.steps", run_in="process")
def steps(ctx: Context, amount: int, db: str = Depends(get_db)) -> list[Any]:
    return [ctx.run_async(ctx.step, "charge", charge, amount), db]


@registry.handler("child.async")
async def in_the_loop(ctx: Context, amount: int, db: str = Depends(get_db)) -> list[Any]:
    first = threading.current_thread() is threading.main_thread()
    return [await ctx.step("charge", charge, amount), db, first, os.getpid()]


@registry.handler("child.cancels")
async def cancels_itself() -> None:
    raise anyio.get_cancelled_exc_class()("of its own")


def alive(process: int) -> bool:
    """Tell whether a process runs; one that was killed and not reaped yet does not."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


@registry.handler("child.leaks")
async def leaks() -> int:
    """Leave a task behind, and count those that were found."""
    found = sum(task.get_name() == "left" for task in asyncio.all_tasks())
    asyncio.get_running_loop().create_task(anyio.sleep(60), name="left")
    return found


go, told = threading.Event(), threading.Event()
said: list[str] = []


@registry.handler("child.leaves", run_in="process")
def leaves_a_thread(ctx: Context) -> None:
    """Leave a thread behind that speaks when the next attempt runs."""

    def speak() -> None:
        go.wait(300)
        ctx.log("late")
        ctx.progress(1)
        try:
            ctx.run_async(ctx.step, "charge", charge, 1)
        except LeaseLost as error:
            said.append(type(error).__name__)
        told.set()

    threading.Thread(target=speak, daemon=True).start()


@registry.handler("child.hears", run_in="process")
def hears(ctx: Context) -> list[str]:
    """Let the thread that an earlier attempt left speak; return what it was told."""
    go.set()
    told.wait(300)
    ctx.log("own")
    return said
