"""Spec strings of methods, ``name`` or ``name:NUMBER/NUMBER...``. What is named here the contract suite covers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from gossamer.errors import ConfigError, InputError
from gossamer.methods.base import Method
from gossamer.methods.bicolor import BiCoLoR
from gossamer.methods.controlled import Scafcom, Scallion
from gossamer.methods.fedavg import FedAvg
from gossamer.methods.feddyn import FedDyn
from gossamer.methods.fednova import FedNova
from gossamer.methods.fedprox import FedProx
from gossamer.methods.locodl import LoCoDL
from gossamer.methods.marina import Marina
from gossamer.methods.normec import NormEC
from gossamer.methods.scafflix import Scafflix

METHODS: dict[str, tuple[Callable[..., Method], int, int]] = {
    "fedavg": (FedAvg, 0, 0),
    "fedprox": (FedProx, 1, 1),
    "feddyn": (FedDyn, 1, 1),
    "fednova": (FedNova, 0, 1),
    "scallion": (Scallion, 2, 2),
    "scafcom": (Scafcom, 2, 2),
    "bicolor": (BiCoLoR, 2, 4),
    "locodl": (LoCoDL, 4, 4),
    "marina": (Marina, 2, 2),
    "normec": (NormEC, 3, 4),
    "scafflix": (Scafflix, 3, 4),
}
"""Name -> what makes it from its numbers, the fewest and the most of them."""

MAX_SPEC_CHARS = 40
"""Characters of a method's spec: every device reads it in every round's manifest."""


@lru_cache(maxsize=32)
def method(spec: str) -> Method:
    """The method of a spec string such as ``fedavg`` or ``fedprox:0.1``.

    Raises:
        ConfigError: no such method, or numbers that cannot be.

    >>> method("fedprox:0.1").spec
    'fedprox:0.1'
    """
    name, _, text = spec.partition(":")
    if name not in METHODS or len(spec) > MAX_SPEC_CHARS:
        raise ConfigError(f"method {spec!r} is not known; choose one of: {', '.join(METHODS)}")
    build, fewest, most = METHODS[name]
    parts = text.split("/") if text else []
    if not fewest <= len(parts) <= most:
        raise ConfigError(f"method {spec!r}: expected {fewest} to {most} numbers after {name!r}, got {len(parts)}")
    try:
        built = build(*(float(part) for part in parts))
    except (InputError, ValueError) as error:
        raise ConfigError(f"method {spec!r}: {error}") from error
    if len(built.spec) > MAX_SPEC_CHARS:
        raise ConfigError(f"method {spec!r}: expected at most {MAX_SPEC_CHARS} characters in full, as {built.spec!r}")
    return built
