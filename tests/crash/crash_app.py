"""The application that the crash tests run: every handler leaves a line in `ran.log`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import anyio

from treadle import Context, Jobs

if Path("slow_import").exists():
    time.sleep(float(Path("slow_import").read_text()))

jobs = Jobs()


def _note(event: str, ctx: Context) -> None:
    line = f"{event} {ctx.job_id} {os.getpid()} {ctx.attempt}\n"
    log = os.open("ran.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, line.encode())
    os.close(log)


@jobs.handler("work")
async def work(ctx: Context, ms: int = 10) -> str:
    """Take some time on the loop."""
    _note("start", ctx)
    await anyio.sleep(ms / 1000)
    _note("end", ctx)
    return "done"


@jobs.handler("sync.work")
def sync_work(ctx: Context, ms: int = 10) -> str:
    """Take some time in a thread."""
    _note("start", ctx)
    time.sleep(ms / 1000)
    _note("end", ctx)
    return "done"


@jobs.handler("crash")
async def crash(ctx: Context) -> None:
    """End the process without a word."""
    _note("start", ctx)
    os._exit(9)


@jobs.handler("block")
async def block(ctx: Context, ms: int, after: str = "") -> str:
    """Block the loop, as no handler should: at once, or after the worker has logged this."""
    _note("start", ctx)
    while after not in Path("worker.log").read_text():  # noqa: ASYNC240, ASYNC110 - it will block anyway
        await anyio.sleep(0.02)
    time.sleep(ms / 1000)  # noqa: ASYNC251 - that is what it is for
    _note("end", ctx)
    return "done"


@jobs.handler("child", run_in="process")
def child(ctx: Context, how: str) -> str:
    """Misbehave in a child process."""
    _note("start", ctx)
    if how == "spin":
        while True:
            pass
    if how == "die":
        os._exit(3)
    return "done"


@jobs.handler("freeze")
async def freeze(ctx: Context) -> None:
    """Stop the whole process, as a debugger or a sick disk does."""
    _note("start", ctx)
    os.kill(os.getpid(), signal.SIGSTOP)


@jobs.handler("stubborn")
async def stubborn(ctx: Context) -> None:
    """Take no cancellation for an answer."""
    _note("start", ctx)
    while True:
        try:
            await anyio.sleep(3600)
        except anyio.get_cancelled_exc_class():
            continue


@jobs.handler("deafen")
async def deafen() -> None:
    """Make the process deaf to what stops it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@jobs.handler("listen")
async def listen() -> None:
    """End when the process hears again."""
    while signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:  # noqa: ASYNC110 - told by no event
        await anyio.sleep(0.01)
