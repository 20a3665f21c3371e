"""Every rule once more, as its formula reads: lists, loops and math.fsum. The judge of the real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from gossamer.aggregator.rules.bucketing import permutation

Vector = list[float]


@dataclass
class NaiveRule:
    """``round(updates, examples, lags)`` -> aggregate; remembers what the rule remembers."""

    spec: str
    last: Vector | None = None
    norms: list[list[float]] = field(default_factory=list)

    def round(self, updates: list[Vector], examples: list[int], lags: list[int], number: int = 0) -> Vector:
        first, plus, rest = self.spec.partition("+")
        if first.startswith("cache:"):  # of a fleet that is heard whole in every round
            faded = [[x * (1 - float(first[6:])) ** lag for x in u] for u, lag in zip(updates, lags, strict=True)]
            return NaiveRule(rest).round(faded, [1] * len(faded), [0] * len(faded), number)
        if plus:
            mixed = PRESTEPS[first.partition(":")[0]](updates, int(first.partition(":")[2]), number)
            inner = NaiveRule(rest, self.last, self.norms)
            out = inner.round(mixed, [1] * len(mixed), [0] * len(mixed), number)
            self.last, self.norms = inner.last, inner.norms
            return out
        name, _, parameter = self.spec.partition(":")
        d = len(updates[0])
        if name in ("median", "trimmed-mean"):
            return [middle([u[j] for u in updates], parameter) for j in range(d)]
        if name in STATELESS:
            return STATELESS[name](updates, parameter)
        if name == "centered-clipping":
            self.last = centered(updates, self.last or [0.0] * d, parameter)
            return self.last
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


def apart(u: Vector, v: Vector) -> Fraction:
    """Squared distance, exactly."""
    return sum((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(u, v, strict=True))  # type: ignore[return-value]


def mean(updates: list[Vector]) -> Vector:
    return weighted([(1.0, u) for u in updates])


def scores(updates: list[Vector], f: int) -> list[tuple[Fraction, int]]:
    near = len(updates) - f - 1
    out = []
    for i, u in enumerate(updates):
        others = sorted(apart(u, v) for j, v in enumerate(updates) if j != i)
        out.append((sum(others[:near], Fraction(0)), i))
    return sorted(out)


def krum(updates: list[Vector], parameter: str) -> Vector:
    return updates[scores(updates, int(parameter))[0][1]]


def multi_krum(updates: list[Vector], parameter: str) -> Vector:
    f, _, m = parameter.partition("/")
    count = int(m) if m else len(updates) - int(f)
    return mean([updates[i] for _, i in scores(updates, int(f))[:count]])


def bulyan(updates: list[Vector], parameter: str) -> Vector:
    f, left, chosen = int(parameter), list(updates), []
    while len(chosen) < len(updates) - 2 * f:
        best = scores(left, f if len(left) > f + 1 else len(left) - 1)[0][1]
        chosen.append(left.pop(best))
    out = []
    for j in range(len(updates[0])):
        values = sorted(u[j] for u in chosen)
        median = middle(values, "")
        kept = sorted(values, key=lambda x: (abs(x - median), x))[: len(updates) - 4 * f]
        out.append(math.fsum(kept) / len(kept))
    return out


def geometric_median(updates: list[Vector], parameter: str) -> Vector:
    z = [0.0] * len(updates[0])
    for _ in range(int(parameter or 5000)):
        z_before = z
        lengths = [max(math.dist(u, z), 1e-6 * middle([length(v) for v in updates], "")) for u in updates]
        z = weighted([(1 / (far or 1.0), u) for far, u in zip(lengths, updates, strict=True)])
        if math.dist(z, z_before) <= 1e-12 * length(z):
            break
    return z


def centered(updates: list[Vector], v: Vector, parameter: str) -> Vector:
    radius, _, steps = parameter.partition("/")
    for _ in range(int(steps or 1)):
        far = sorted(math.dist(u, v) for u in updates)
        reach = float(radius) if radius else far[(len(far) - 1) // 2]
        moves = [clip([x - y for x, y in zip(u, v, strict=True)], reach) for u in updates]
        v = [x + y for x, y in zip(v, mean(moves), strict=True)]
    return v


def sign_majority(updates: list[Vector], _parameter: str) -> Vector:
    out = []
    for start in range(0, len(updates[0]), 1024):
        block = [u[start : start + 1024] for u in updates]
        lengths = sorted(math.fsum(map(abs, u)) / len(u) for u in block)
        for values in zip(*block, strict=True):
            excess = sum((x > 0) - (x < 0) for x in values)
            out.append(lengths[(len(updates) - 1) // 2] * ((excess > 0) - (excess < 0)))
    return out


def fltrust(updates: list[Vector], parameter: str) -> Vector:
    """The root is the update in the place of the device whose index is 3 * place + 1."""
    place = (int(parameter) - 1) // 3
    root, others = updates[place], [u for i, u in enumerate(updates) if i != place]
    if not any(root):
        return [0.0] * len(root)
    trust = []
    for u in others:
        inner = math.fsum(x * y for x, y in zip(u, root, strict=True))
        trust.append(max(0.0, inner / (length(u) * length(root))) if any(u) else 0.0)
    if not any(trust):
        return root
    scaled = [[x * length(root) / length(u) for x in u] if any(u) else u for u in others]
    return weighted(list(zip(trust, scaled, strict=True)))


def nnm(updates: list[Vector], f: int, _number: int) -> list[Vector]:
    count = len(updates) - f
    return [
        mean([updates[j] for _, _, j in sorted((apart(u, v), j != i, j) for j, v in enumerate(updates))[:count]])
        for i, u in enumerate(updates)
    ]


def bucketing(updates: list[Vector], size: int, number: int) -> list[Vector]:
    order = permutation(len(updates), number).tolist()
    return [mean([updates[i] for i in order[k : k + size]]) for k in range(0, len(order), size)]


STATELESS = {
    "krum": krum,
    "multi-krum": multi_krum,
    "bulyan": bulyan,
    "geometric-median": geometric_median,
    "sign-majority": sign_majority,
    "fltrust": fltrust,
}
PRESTEPS = {"nnm": nnm, "bucketing": bucketing}
