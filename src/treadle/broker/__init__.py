"""Brokers: the protocol that every store implements, and the two that come in the box."""
