"""Measurements of Treadle, each beside a raw loop or a bare process of the same run."""
