"""Gossamer: federated learning on the thinnest links there are.

What a script of yours needs is here: ``from gossamer import Agent, NumpyTrainer``. Each name loads its own module
when it is first used, and nothing else: ``import gossamer`` is free, ``Agent`` loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer.agent.trainer import NumpyTrainer
    from gossamer.api.agent import Agent
    from gossamer.api.server import serve
    from gossamer.trainers.tflite import TFLiteTrainer
    from gossamer.trainers.torch import TorchTrainer

__version__ = "0.1.0"

__all__ = ["Agent", "NumpyTrainer", "TFLiteTrainer", "TorchTrainer", "serve"]

_HOME = {
    "Agent": "gossamer.api.agent",
    "NumpyTrainer": "gossamer.agent.trainer",
    "TFLiteTrainer": "gossamer.trainers.tflite",
    "TorchTrainer": "gossamer.trainers.torch",
    "serve": "gossamer.api.server",
}


def __getattr__(name: str) -> Any:
    """Load a public name where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'gossamer' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
