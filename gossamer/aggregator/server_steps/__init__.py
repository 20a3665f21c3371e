"""Server optimizers, one file each; :func:`server_step` makes one from its spec string. Pure."""

from gossamer.aggregator.server_steps.base import ServerStep, Turn
from gossamer.aggregator.server_steps.registry import server_step

__all__ = ["ServerStep", "Turn", "server_step"]
