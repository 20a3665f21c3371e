"""How good a model is on held-out data: asked of the trainer itself, in child processes, one after another.

A judge never holds a round up. It looks at the newest version when it has finished with an older one, so slow
trainers are judged less often, and the last version always is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gossamer.agent.runner import ChildSettings, TrainerProcess
from gossamer.errors import GossamerError, TrainerFailed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accuracy of a version, weighted by the devices' held-out examples; 0 to 1."""

    version: int
    accuracy: float
    examples: int


@dataclass
class Judge:
    """Evaluates on every device's held-out data. ``failure``: why it has given up."""

    children: Sequence[ChildSettings]
    verdicts: list[Verdict] = field(default_factory=list)
    failure: str = ""
    _wanted: tuple[int, dict[str, Any]] | None = None
    _version: int = -1
    _left: deque[ChildSettings] = field(default_factory=deque)
    _figures: list[dict[str, float]] = field(default_factory=list)
    _model: dict[str, Any] = field(default_factory=dict)
    _child: TrainerProcess | None = None

    def want(self, version: int, model: dict[str, Any]) -> None:
        """Judge this version when there is time; ``model`` as :func:`gossamer.agent.work.evaluate` reads it."""
        if version > self._version:
            self._wanted = (version, model)

    @property
    def idle(self) -> bool:
        """Whether nothing is asked for any more."""
        return self._child is None and self._wanted is None and not self._left

    @property
    def descriptors(self) -> frozenset[int]:
        """To be watched for reading."""
        return frozenset() if self._child is None else self._child.descriptors

    def turn(self, now: float) -> None:
        """Start what is due, end what takes too long."""
        if self.failure:
            self._wanted = None
            self._left.clear()
            return
        try:
            if self._child is not None:
                self._child.check(now)
                return
            if not self._left and self._wanted is not None:
                (self._version, self._model), self._wanted = self._wanted, None
                self._left.extend(self.children)
                self._figures = []
            if self._left:
                self._child = TrainerProcess(self._left.popleft(), "evaluate", {"model": self._model}, now)
        except GossamerError as error:
            self._fail(error)

    def ready(self, descriptor: int) -> None:
        """A descriptor is readable."""
        if self._child is None:
            return
        try:
            for answer in self._child.on_readable(descriptor):
                self._figures.append(answer["figures"])
                self._child = None
                if not self._left:
                    self._conclude()
        except GossamerError as error:
            self._fail(error)

    def close(self) -> None:
        """End what runs."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _conclude(self) -> None:
        weights = [figures.get("examples", 1.0) for figures in self._figures]
        total = sum(weights)
        if not total or any("accuracy" not in figures for figures in self._figures):
            self._fail(TrainerFailed("Trainer.evaluate tells no 'accuracy'"))
            return
        hits = sum(figures["accuracy"] * weight for figures, weight in zip(self._figures, weights, strict=True))
        self.verdicts.append(Verdict(self._version, hits / total, round(total)))

    def _fail(self, error: GossamerError) -> None:
        self.close()
        self._left.clear()
        self.failure = str(error)
