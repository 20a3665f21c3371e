"""Every rule once more, as its formula reads: lists, loops and math.fsum. The judge of the real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Vector = list[float]


@dataclass
class NaiveRule:
    """``round(updates, examples, lags)`` -> aggregate; remembers what the rule remembers."""

    spec: str
    last: Vector | None = None
    norms: list[list[float]] = field(default_factory=list)

    def round(self, updates: list[Vector], examples: list[int], lags: list[int]) -> Vector:
        name, _, parameter = self.spec.partition(":")
        d = len(updates[0])
        if name in ("median", "trimmed-mean"):
            return [middle([u[j] for u in updates], parameter) for j in range(d)]
        cap = 3 if name == "mean" else 1
        ordered = sorted(max(e, 1) for e in examples)
        limit = cap * ordered[(len(ordered) - 1) // 2]
        weights = [min(max(e, 1), limit) / math.sqrt(1 + lag) for e, lag in zip(examples, lags, strict=True)]
        if name == "mean":
            return weighted([(w, u) for w, u in zip(weights, updates, strict=True)])
        heard = [length(u) for u in updates if any(u)]
        self.norms = [*self.norms, thirty_two(heard)][-8:] if heard else self.norms
        pool = sorted(norm for norms in self.norms for norm in norms)
        typical = pool[(len(pool) - 1) // 2] if pool else 0.0
        if name == "norm-clip":
            return weighted([(w, clip(u, typical)) for w, u in zip(weights, updates, strict=True)])
        assert name == "clipped-differences"
        last = self.last or [0.0] * d
        radius = float(parameter or 0.3) * max(length(last), typical / math.sqrt(len(updates)))
        differences = [clip([x - y for x, y in zip(u, last, strict=True)], radius) for u in updates]
        move = weighted(list(zip(weights, differences, strict=True)))
        self.last = [x + y for x, y in zip(last, move, strict=True)]
        return self.last


def middle(values: list[float], parameter: str) -> float:
    """Median without a parameter, else the mean without so many at either end."""
    ordered = sorted(values)
    f = int(parameter) if parameter else (len(values) - 1) // 2
    kept = ordered[f : len(ordered) - f]
    return math.fsum(kept) / len(kept)


def length(u: Vector) -> float:
    return math.sqrt(math.fsum(x * x for x in u))


def clip(u: Vector, radius: float) -> Vector:
    norm = length(u)
    return u if norm <= radius else [x * radius / norm for x in u]


def weighted(pairs: list[tuple[float, Vector]]) -> Vector:
    total = math.fsum(w for w, _ in pairs)
    return [math.fsum(w * u[j] for w, u in pairs) / total for j in range(len(pairs[0][1]))]


def thirty_two(norms: list[float]) -> list[float]:
    """32 evenly spaced order statistics."""
    ordered = sorted(norms)
    return [ordered[i * len(ordered) // 32] for i in range(32)]
