"""Pauses, limits, and small named documents with compare-and-set."""

from __future__ import annotations

from typing import Final

from treadle.broker.simple import keys
from treadle.broker.simple.books import EVERYTHING, Books
from treadle.broker.simple.values import Queue
from treadle.broker.values import Document
from treadle.errors import TooLarge

DOCUMENT_BYTES: Final = 64 * 1024


def set_limit(books: Books, key: str, running: int | None) -> None:
    """Allow so many running jobs of a concurrency key; let in who may run now."""
    if running is None:
        books.drop(keys.LIMIT, key)
    else:
        books.write((key, running), keys.LIMIT, key)
    books.let_in(key, EVERYTHING)


def limits(books: Books) -> tuple[tuple[str, str, int], ...]:
    """Return every limit that is set."""
    of_keys = [("key", *limit) for limit in books.first(tuple[str, int], keys.LIMIT)]
    queues = books.first(Queue, keys.QUEUE)
    of_queues = [("queue", queue.name, queue.limit) for queue in queues if queue.limit is not None]
    return tuple(sorted(of_keys + of_queues))


def document(books: Books, name: str) -> Document | None:
    """Return the control document of that name."""
    return books.read(Document, keys.DOCUMENT, name)


def documents(books: Books, prefix: str) -> list[Document]:
    """Return the control documents whose name begins with `prefix`, by name."""
    every = books.first(Document, keys.DOCUMENT)
    found = [document for document in every if document.name.startswith(prefix)]
    return sorted(found, key=lambda document: document.name)


def put_document(books: Books, name: str, data: bytes | None, version: int) -> Document | None:
    """Write or remove a document if its version is still `version`; return what stands.

    Raises:
        TooLarge: if it has more than 64 KiB.
    """
    if data is not None and len(data) > DOCUMENT_BYTES:
        raise TooLarge(f"document {name!r} has {len(data)} bytes, at most {DOCUMENT_BYTES}")
    standing = document(books, name)
    if version != (0 if standing is None else standing.version):
        return standing
    if data is None:
        books.drop(keys.DOCUMENT, name)
        return None
    books.counters.document += 1
    written = Document(name=name, version=books.counters.document, data=data)
    books.write(written, keys.DOCUMENT, name)
    return written
