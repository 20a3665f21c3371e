"""Names of attacks. What is named here the tests of attacks cover."""

from __future__ import annotations

from gossamer.aggregator.attacks.adaptive import PREFIX, adaptive
from gossamer.aggregator.attacks.base import Attack
from gossamer.aggregator.attacks.direct import DIRECT
from gossamer.aggregator.attacks.statistics import STATISTICAL
from gossamer.errors import ConfigError

ATTACKS: dict[str, Attack] = {each.name: each for each in (*DIRECT, *STATISTICAL)}

ADAPTABLE = ("sign-flip", "gaussian", "shift-back", "alie", "inner-product-2", "mimic", "min-max")
"""Those that are a direction which can be scaled; ``inner-product-10`` has that of ``-2``."""


def attack(name: str) -> Attack:
    """The attack of that name, or of ``adaptive:NAME``; raises ConfigError for an unknown one."""
    if name.startswith(PREFIX):
        base = name.removeprefix(PREFIX)
        if base not in ADAPTABLE:
            raise ConfigError(f"attack {name!r}: expected {PREFIX}NAME with one of {', '.join(ADAPTABLE)}")
        return adaptive(ATTACKS[base])
    if name not in ATTACKS:
        known = ", ".join(ATTACKS)
        raise ConfigError(f"attack {name!r} is not known; choose one of: {known}, or {PREFIX}NAME")
    return ATTACKS[name]
