"""What keys are called: the other half stands in lua/books.lua, lua/alone.lua and lua/cluster.lua."""

from __future__ import annotations


def books(namespace: str) -> str:
    """Return the key that every script names, so that a cluster knows which node is meant."""
    return f"{{{namespace}}}:n"


def written(namespace: str) -> str:
    """Return the key that scripts write in a cluster if replicas shall confirm."""
    return f"{{{namespace}}}:w"


def never(namespace: str) -> str:
    """Return the key that nobody ever writes."""
    return f"{{{namespace}}}:?"


def woken(namespace: str) -> str:
    """Return the stream that wakes readers of events."""
    return f"{{{namespace}}}:es"


def markers(namespace: str, queue: str, *, is_clustered: bool) -> str:
    """Return the list whose markers wake who waits for jobs of a queue."""
    tag = f"{{{namespace}}}:q:{queue}" if is_clustered else f"{{{namespace}:{queue}}}"
    return f"{tag}:k"
