"""`streams`: `/api/v1` itself, in three roles, with the settings of its contract."""

from __future__ import annotations

from treadle.profile import Profile


def profile() -> Profile:
    """Return the profile: what it serves is there anyway, what it says is how the roles are set."""
    return Profile(
        name="streams",
        summary="/api/v1 with the settings of a service in three roles",
        defaults={
            "job.timeout": "5m",
            "log.format": "json",
            "log.level": "info",
            "web.port": 8080,
            "worker.concurrency": 10,
            "worker.grace": "30s",
            "worker.poll_interval": "1s",
            "worker.queues": "critical,default,low",
        },
        works=False,
    )
