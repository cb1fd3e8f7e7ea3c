"""The smallest application: `qrun worker hello:jobs` runs what this file enqueues."""

import anyio

from treadle import Jobs

jobs = Jobs()  # QRUN_URL, or [tool.treadle] url, or sqlite:///.treadle/jobs.db


@jobs.handler("email.send", retry=5, timeout=30)
async def send_email(to: str, subject: str = "Welcome!") -> str:
    return f"sent {subject!r} to {to}"


@jobs.handler("report.nightly")
def nightly_report() -> None:
    print("a sync function runs in a thread")


async def main() -> None:
    job = await send_email.enqueue("ada@example.com")
    await send_email.options(delay=60, queue="mail", priority="high").enqueue("bob@example.com")
    await send_email.enqueue_many([{"to": "eve@example.com"}, {"to": "joe@example.com"}])
    await nightly_report.enqueue()
    print(f"enqueued {job.id}; it is {job.state}. Now run: qrun worker hello:jobs")
    await jobs.close()


if __name__ == "__main__":
    anyio.run(main)
