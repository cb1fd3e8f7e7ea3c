"""The ten handlers of the demo. They work 5 to 20 ms each, and some of them fail.

What a job does is told by the number at the end of its id, so a run can be repeated: every
twentieth fails at its first attempt, a few fail always, and a few give up.
"""

from __future__ import annotations

import time

import anyio

from treadle import Context, GiveUp, Jobs, exponential

jobs = Jobs()

_RETRY = exponential(base=0.2, cap=1, jitter="equal", retries=2)


class UpstreamUnavailable(Exception):
    """Stands for everything that fails now and works a moment later."""


def _work_ms(number: int) -> int:
    return 5 + number * 7 % 16


def _number(ctx: Context) -> int:
    return int(ctx.job_id.rpartition("-")[2])


def _fail_now_and_then(ctx: Context, number: int) -> None:
    if number % 20 == 7 and ctx.attempt == 1:
        raise UpstreamUnavailable("the service did not answer (it will)")
    if number % 200 == 113:
        raise UpstreamUnavailable("the service never answers")


async def _work(ctx: Context) -> None:
    number = _number(ctx)
    await anyio.sleep(_work_ms(number) / 1_000)
    _fail_now_and_then(ctx, number)


def _work_in_thread(ctx: Context) -> None:
    number = _number(ctx)
    time.sleep(_work_ms(number) / 1_000)
    _fail_now_and_then(ctx, number)


@jobs.handler("send_email", retry=_RETRY)
async def send_email(ctx: Context, task: str, to: str, subject: str, body: str) -> str:
    """Send an email."""
    await _work(ctx)
    return f"{task}: sent {subject!r} to {to} ({len(body)} characters)"


@jobs.handler("resize_image", retry=_RETRY)
def resize_image(ctx: Context, task: str, image_url: str, width: int, height: int) -> str:
    """Resize an image, in a thread."""
    _work_in_thread(ctx)
    return f"{task}: {image_url} is {width} x {height} now"


@jobs.handler("generate_report", retry=_RETRY)
async def generate_report(ctx: Context, task: str, report_type: str, date: str) -> str:
    """Write a report."""
    await _work(ctx)
    return f"{task}: {report_type} of {date}"


@jobs.handler("backup_database", retry=_RETRY, priority="low")
def backup_database(ctx: Context, task: str, db_name: str, destination: str) -> str:
    """Back up a database, in a thread."""
    _work_in_thread(ctx)
    return f"{task}: {db_name} to {destination}"


@jobs.handler("notify_user", retry=_RETRY)
async def notify_user(ctx: Context, task: str, user_id: int, message: str) -> str:
    """Notify a user."""
    await _work(ctx)
    return f"{task}: told user {user_id}: {message}"


@jobs.handler("transcode_video", retry=_RETRY, priority="low")
async def transcode_video(ctx: Context, task: str, video_id: str, format: str) -> str:
    """Transcode a video, and say how far it is."""
    ctx.progress(0, 1, video_id)
    await _work(ctx)
    ctx.progress(1, 1, video_id)
    return f"{task}: {video_id}.{format}"


@jobs.handler("fetch_url", retry=_RETRY)
async def fetch_url(ctx: Context, task: str, url: str, method: str) -> str:
    """Fetch a URL (nothing leaves this machine)."""
    await _work(ctx)
    return f"{task}: {method} {url}"


@jobs.handler("update_cache", retry=_RETRY, priority="high")
async def update_cache(ctx: Context, task: str, key: str, value: str) -> str:
    """Update a cache."""
    await _work(ctx)
    return f"{task}: {key} = {value}"


@jobs.handler("process_payment", retry=_RETRY, priority="critical")
async def process_payment(
    ctx: Context, task: str, user_id: int, amount: float, currency: str
) -> str:
    """Take a payment; one in fifty is declined for good."""
    await _work(ctx)
    if _number(ctx) % 50 == 3:
        raise GiveUp("the card was declined")
    return f"{task}: {amount:.2f} {currency} of user {user_id}"


@jobs.handler("send_sms", retry=_RETRY, priority="high")
async def send_sms(ctx: Context, task: str, phone: str, message: str) -> str:
    """Send a text message."""
    await _work(ctx)
    return f"{task}: {phone}: {message}"
