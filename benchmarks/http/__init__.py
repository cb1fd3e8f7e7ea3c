"""How fast the HTTP interface is, beside a bare route of the same server: `python -m benchmarks.http`."""
