"""The pure core: what a job is, which states it has, and what happens to it.

No clock, no chance, no log, no I/O: `now` and `rng` are passed in.
"""
