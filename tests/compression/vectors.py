"""The inputs that all suites of this package share, and the golden bodies.

``python -m tests.compression.vectors`` writes the golden files anew: only for a new codec. A change of an
existing file means that devices in the field can no longer talk to the server.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from gossamer.compression import REGISTRY, Context, codec, decode
from gossamer.compression.codebooks import Codebooks
from gossamer.compression.layout import Layout

GOLDEN = Path(__file__).parent.parent / "vectors" / "compression"
NEEDS_A_FRAME = {"hist"}
"""Methods that nothing but a shared model's history can be encoded for; their own tests make one."""
SPECS = [spec for method in REGISTRY.methods if method.name not in NEEDS_A_FRAME for spec in method.examples]
SIZES = (0, 1, 3, 64, 3300)


def update(d: int, seed: int = 0) -> np.ndarray:
    """A vector like a real update: heavy tails, 39 % exact zeros, float32 (d,)."""
    rng = np.random.default_rng([d, seed])
    x = rng.standard_normal(d) * rng.gamma(0.5, 1.0, d) * 1e-3
    return np.where(rng.random(d) < 0.39, 0.0, x).astype(np.float32)


def context(d: int) -> Context:
    """What a job knows: a layout of d coordinates with matrices and biases, and codebooks of a later version."""
    side = math.isqrt(d // 3)
    rest = d - 2 * side * side - side
    entries = (("first", (side, side)), ("bias", (side,)), ("second", (side, side)), ("rest", (rest,)))
    tables = ((9, 40, 80, 120, 160, 200, 240), (1, 2, 3, 100, 101, 254, 255))
    return Context(layout=Layout(entries), codebooks=Codebooks(300, tables))


def special(d: int) -> dict[str, np.ndarray]:
    """The vectors on which codecs break."""
    one = np.zeros(d, np.float32)
    one[d // 2 : d // 2 + 1] = -3.0
    return {
        "zeros": np.zeros(d, np.float32),
        "negative zeros": np.full(d, -0.0, np.float32),
        "constant": np.full(d, 0.25, np.float32),
        "one coordinate": one,
        "denormals": np.linspace(-3e-41, 3e-41, d).astype(np.float32),
        "smallest": np.full(d, 1e-45, np.float32),
        "tiny": update(d) * np.float32(1e-30),
        "largest": np.where(np.arange(d) % 2, 2.0**64, -(2.0**64)).astype(np.float32),
        "wide range": np.ldexp(np.float32(1), -(np.arange(d) % 190) + 64).astype(np.float32),
        "lattice unit": np.where(np.arange(d) % 3, 2.0**-20, 0).astype(np.float32),
        "ties": np.where(np.arange(d) % 2, 1.0, -1.0).astype(np.float32),
    }


def golden_file(spec: str) -> Path:
    return GOLDEN / (spec.replace(":", "_").replace("/", "-") + ".json")


def golden_input(d: int) -> np.ndarray:
    """float32 (d,) made of exact arithmetic only, so that it never depends on a library."""
    i = np.arange(d, dtype=np.int64)
    wild = (i * 7919 + 104729) * (i + 13) % 65537 - 32768
    return np.where(i % 5 == 0, 0, wild * 2.0 ** -(20.0 + i % 7)).astype(np.float32)


def write_golden() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for spec in SPECS:
        if golden_file(spec).exists():
            continue
        cases = []
        for d in (0, 1, 5, 150):
            body = codec(spec).encode(golden_input(d), seed=7)
            bits = decode(body, d).astype("<f4").tobytes().hex()
            cases.append({"d": d, "seed": 7, "body": body.hex(), "decoded_float32_le": bits})
        golden_file(spec).write_text(json.dumps({"spec": spec, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
