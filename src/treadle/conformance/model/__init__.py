"""The specification as a program: it holds what must be stored, and judges every answer."""

from treadle.conformance.model.disagreement import Disagreement
from treadle.conformance.model.model import Model
from treadle.conformance.model.when import When

__all__ = ["Disagreement", "Model", "When"]
