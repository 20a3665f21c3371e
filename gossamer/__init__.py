"""Gossamer: federated learning on the thinnest links there are."""

__version__ = "0.1.0"
