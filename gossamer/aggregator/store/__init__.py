"""The server's durable state: one small module of functions per table, one transaction per ``with`` block."""

from gossamer.aggregator.store.database import Store, next_boot

__all__ = ["Store", "next_boot"]
