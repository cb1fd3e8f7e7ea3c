"""Broken brokers, each of which breaks one promise: the kit must catch every one of them.

A kit that finds nothing wrong has shown nothing unless it would have. `python -m
treadle.conformance.mutants` runs cases and machine against all mutants, and fails if one survives.
"""

from treadle.conformance.mutants.mutant import CONTROLS, Mutant, mutants

__all__ = ["CONTROLS", "Mutant", "mutants"]
