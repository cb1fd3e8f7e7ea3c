"""The runtime: claim -> attempt -> settle, on anyio."""
