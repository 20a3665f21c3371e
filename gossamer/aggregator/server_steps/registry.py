"""Server steps by spec string."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.aggregator.server_steps.adaptive import fedadam, fedyogi
from gossamer.aggregator.server_steps.amplify import MAX_AMPLIFICATION, SUFFIX, Amplified
from gossamer.aggregator.server_steps.base import ServerStep
from gossamer.aggregator.server_steps.fedavg import fedavg, fedavgm
from gossamer.errors import ConfigError

STEPS: dict[str, Callable[[str], ServerStep]] = {
    "fedavg": fedavg,
    "fedavgm": fedavgm,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
}
"""Name -> factory from the text after the colon; a factory raises ValueError for numbers that cannot be."""

FORMS = "fedavg:LR, fedavgm:LR/MOMENTUM, fedadam:LR/B1/B2/TAU or fedyogi:LR/B1/B2/TAU"


def server_step(spec: str) -> ServerStep:
    """The optimizer of a spec string: ``fedavg``, ``fedavgm:0.1/0.9``, ``fedadam:0.01``, ``fedavg+amplify:2``.

    Raises:
        ConfigError: no such optimizer, or a number out of its range.

    >>> import numpy as np
    >>> step = server_step("fedavg:0.5")
    >>> step.apply(step.init(2), np.array([2.0, 4.0]))[0].tolist()
    [1.0, 2.0]
    """
    text, amplified, factor_text = spec.partition(SUFFIX)
    name, _, numbers = text.partition(":")
    if name not in STEPS:
        raise ConfigError(f"server step {spec!r} is not known; choose {FORMS}, and {SUFFIX}A after it if need be")
    try:
        step = STEPS[name](numbers)
        if not amplified:
            return step
        factor = float(factor_text)
        if not 1.0 <= factor <= MAX_AMPLIFICATION:
            raise ValueError(f"the amplification must be in [1, {MAX_AMPLIFICATION:g}], got {factor}")
    except ValueError as error:
        raise ConfigError(f"server step {spec!r}: {error}") from error
    return Amplified(step, factor)
