"""A trainer that needs what is not installed."""

from __future__ import annotations


def legacy() -> None:
    import tflite_runtime  # noqa: F401 - never beside numpy 2
