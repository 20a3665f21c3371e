"""Server optimizers: the aggregate of a round -> the step of the target model. See :mod:`.server_steps`."""

from gossamer.aggregator.server_steps import ServerStep, Turn, server_step

__all__ = ["ServerStep", "Turn", "server_step"]
