"""Benchmarks: each is a module that prints a table, and flat records with ``--json FILE``."""
