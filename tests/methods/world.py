"""A method on seeded problems without wire, lattice or rule: what the paper's proof is about, in float64.

``World`` deals rounds as a job does; ``compress(vector, rng)`` stands for codec and decoding. The same method runs over
the real wire in ``tests/methods/test_wire.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gossamer.methods.base import Fitted, Memory, Method, Round, View

Vector = NDArray[np.float64]
Compress = Callable[[Vector, np.random.Generator], Vector]


def exact(vector: Vector, rng: np.random.Generator) -> Vector:
    return vector


def rand_k(k: int) -> Compress:
    """k coordinates drawn at random, scaled by d/k: unbiased, variance d/k - 1."""

    def compress(vector: Vector, rng: np.random.Generator) -> Vector:
        out = np.zeros_like(vector)
        kept = rng.choice(len(vector), k, replace=False)
        out[kept] = vector[kept] * (len(vector) / k)
        return out

    return compress


def top_k(k: int) -> Compress:
    """The k largest coordinates: biased, contractive by k/d."""

    def compress(vector: Vector, rng: np.random.Generator) -> Vector:
        out = np.zeros_like(vector)
        kept = np.argsort(-np.abs(vector), kind="stable")[:k]
        out[kept] = vector[kept]
        return out

    return compress


def clipped(vector: Vector, radius: float | None) -> Vector:
    norm = float(np.linalg.norm(vector))
    return vector if radius is None or norm <= radius else vector * (radius / norm)


@dataclass
class Quadratic:
    """f(w) = sum a (w - c)^2 / 2, a and c float64 (d,); ``noise`` scales what a minibatch adds to the gradient."""

    a: Vector
    c: Vector
    learning_rate: float
    local_steps: int
    noise: float = 0.0
    examples: int = 1

    @property
    def d(self) -> int:
        return len(self.a)

    def fit(self, start: Vector, *, correction: Vector | None = None, proximal: float = 0.0) -> Fitted:
        w = start.copy()
        for _ in range(self.local_steps):
            extra = 0.0 if correction is None else correction
            w = w - self.learning_rate * (self.a * (w - self.c) + extra + proximal * (w - start))
        return Fitted(w, float((self.a * (w - self.c) ** 2).sum() / 2), self.local_steps)

    def gradient(self, at: Vector, *, batch: int | None = None) -> tuple[Vector, float]:
        noise = self.noise * np.random.default_rng(batch).standard_normal(self.d) if batch is not None else 0.0
        return self.a * (at - self.c) + noise, float((self.a * (at - self.c) ** 2).sum() / 2)

    def optimum(self) -> Vector:
        return self.c.copy()


def quadratics(n: int, d: int, condition: float, seed: int = 0, **local: float) -> tuple[list[Quadratic], Vector]:
    """n quadratics with curvatures from 1 to ``condition``, and the minimiser of their mean."""
    rng = np.random.default_rng(seed)
    a = np.clip(np.geomspace(1, condition, d) * rng.uniform(0.5, 2, (n, d)), 1, condition)
    a[:, 0], a[:, -1] = 1, condition
    c = 3 * rng.standard_normal((n, d))
    settings = {"learning_rate": 0.5 / condition, "local_steps": 1, **local}
    return [Quadratic(a[i], c[i], **settings) for i in range(n)], (a * c).sum(0) / a.sum(0)  # type: ignore[arg-type]


@dataclass
class World:
    """Devices and server of one job; ``server_rate`` is the server step of methods without a half of their own."""

    method: Method
    locals: list[Quadratic]
    up: Compress = exact
    down: Compress = exact
    cohort: int = 0
    """Devices of a round, drawn at random; 0: all."""
    server_rate: float = 1.0
    lost: float = 0.0
    """The chance that an update is never counted."""
    grid: float = 0.0
    """Target and shared model live on multiples of this; 0: on float64."""
    seed: int = 0
    start: float = 0.0
    """Every weight of version 0."""
    round: int = 0
    memory: Memory = field(default_factory=dict)
    own: dict[int, Vector] = field(default_factory=dict)
    sections: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = 1 + len(self.method.companions)
        self.rng = np.random.default_rng(self.seed)
        self.shared = np.zeros((rows, self.locals[0].d))
        self.shared[0] = self.start
        self.target = self.shared.copy()

    @property
    def n(self) -> int:
        return len(self.locals)

    def members(self) -> list[int]:
        size = self.cohort or self.n
        return sorted(self.rng.choice(self.n, size, replace=False).tolist()) if size < self.n else list(range(self.n))

    def tampered(self, members: list[int], sent: list[Vector]) -> list[Vector]:
        return sent

    def aggregate(self, vectors: list[Vector]) -> Vector:
        return np.mean(vectors, axis=0)  # type: ignore[no-any-return]

    def rounded(self, vectors: Vector) -> Vector:
        return np.rint(vectors / self.grid) * self.grid if self.grid else vectors

    def turn(self) -> None:
        """One round."""
        members = self.members()
        cohorts = max(1, self.n // max(1, len(members)))
        sent, sections = [], []
        for i in members:
            where = Round(
                self.round, self.seed, i, self.n, cohorts, self.locals[i].learning_rate,
                self.sections, bytes([i]) * 32, len(members) == self.n,
            )  # fmt: skip
            draft = self.method.train(self.shared.copy(), self.own.get(i), self.locals[i], where)
            vector = draft.trained - self.shared[0] if draft.vector is None else draft.vector
            decoded = vector if draft.exact else self.up(vector, self.rng)
            lost = self.lost > 0 and self.rng.random() < self.lost
            after = draft.dropped if lost else draft.settled(decoded)
            if after is not None:
                self.own[i] = after
            if lost:
                continue
            sent.append(decoded)
            sections.append(draft.sections)
        if not sent:
            self.round += 1
            return
        sent = self.tampered(members, sent)
        factors = self.method.factors(sections)
        full = len(members) == self.n
        view = View(self.shared, self.target, self.n, len(sent), self.round, cohorts, sections, self.seed, full)
        radius = self.method.clip(self.memory, view)
        aggregate = self.aggregate([clipped(f * v, radius) for f, v in zip(factors, sent, strict=True)])
        if self.method.steps:
            moves, self.memory = self.method.step(self.memory, aggregate, view)
            self.sections = dict(self.method.announce(self.memory))
        else:
            moves = np.zeros_like(self.target)
            moves[0] = self.server_rate * aggregate
        self.target = self.rounded(self.target + moves)
        step = self.down((self.target - self.shared).reshape(-1), self.rng).reshape(moves.shape)
        self.shared = self.rounded(self.shared + step)
        self.round += 1

    def run(self, rounds: int) -> Vector:
        """Return the model after so many rounds."""
        for _ in range(rounds):
            self.turn()
        return self.method.model(self.shared, self.own.get(0))
