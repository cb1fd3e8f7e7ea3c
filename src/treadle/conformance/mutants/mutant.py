"""The registry of the mutants, and the two controls in which nothing is broken."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl
from treadle.conformance.mutants.loose import LooseBroker, LooseFile, LooseStore, LooseTable
from treadle.conformance.subject import Make, Subject

Part = LooseBroker | LooseFile | LooseStore | LooseTable
P = TypeVar("P", bound=Part)

_URLS: Final = {"memory": "memory://", "sqlite": "sqlite:///{folder}/mutant.db"}


class Mutant(Struct, frozen=True, kw_only=True):
    """A broker that breaks one promise."""

    id: str
    """Stands in reports and docs; it is never given to another mutant."""
    broken: str
    """What it does wrong, as a sentence."""
    case: str
    """The id of the case whose promise it breaks; "" for a control, which breaks none."""
    store: str
    """Which broker it is made of: memory or sqlite."""
    make: Make

    def subject(self, folder: Path) -> Subject:
        """Return what the kit is run against; `folder` is for its files."""
        return Subject(_URLS[self.store].format(folder=folder), make=self.make)


_mutants: dict[str, Mutant] = {}


def mutant(id: str, *, case: str) -> Callable[[type[P]], type[P]]:
    """Register a broken part of a broker; the first line of its docstring says what is broken.

    Raises:
        ValueError: if the id is taken.
    """

    def register(part: type[P]) -> type[P]:
        if id in _mutants:
            raise ValueError(f"mutant {id} is there already: {_mutants[id].broken}")
        _mutants[id] = _made(id, part, case)
        return part

    return register


def mutants() -> list[Mutant]:
    """Return all mutants, by id."""
    package = importlib.import_module("treadle.conformance.mutants.broken")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return [each for _, each in sorted(_mutants.items())]


def _made(id: str, part: type[object], case: str) -> Mutant:
    doc = part.__doc__
    assert doc is not None, f"mutant {id} does not say what is broken"
    return Mutant(
        id=id,
        broken=doc.partition("\n")[0].removesuffix("."),
        case=case,
        store="sqlite" if issubclass(part, LooseFile) else "memory",
        make=_maker(part),
    )


def _maker(part: type[object]) -> Make:
    """Return what makes a broker with this part in it, and all others as they should be."""

    def make(url: BrokerUrl, clock: Clock) -> Broker:
        most = LooseBroker.max_record
        if issubclass(part, LooseFile):
            return part(url, clock)
        if issubclass(part, LooseBroker):
            return part(url, clock, part.make_store(clock, most))
        if issubclass(part, LooseStore):
            return LooseBroker(url, clock, part(clock, most))
        assert issubclass(part, LooseTable)
        return LooseBroker(url, clock, LooseStore(clock, most, part))

    return make


CONTROLS: Final = (_made("memory", LooseStore, ""), _made("sqlite", LooseFile, ""))
"""The same wrappers around what is not broken: the kit must find nothing in them."""
