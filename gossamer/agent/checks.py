"""What a trainer returned, or TrainerFailed that says what was expected and what came."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gossamer.agent.trainer import FitResult, Weights
from gossamer.compression.layout import Layout
from gossamer.errors import TrainerFailed
from gossamer.wire.limits import MAX_UPDATE_SECTION_BYTES, MAX_UPDATE_SECTIONS


def check_result(result: Any, layout: Layout) -> FitResult:
    """What ``Trainer.fit`` returned, or :class:`TrainerFailed` that says what was expected and what came."""
    if not isinstance(result, FitResult):
        raise TrainerFailed(
            "Trainer.fit: expected a gossamer.agent.trainer.FitResult(weights, examples, loss), got "
            f"{type(result).__name__}"
        )
    weights = checked_weights(result.weights, [shape for _, shape in layout.entries], "Trainer.fit")
    examples, loss = result.examples, result.loss
    if isinstance(examples, bool) or not isinstance(examples, (int, np.integer)) or examples < 1:
        raise TrainerFailed(f"Trainer.fit: expected examples to count the data, at least 1, got {examples!r}")
    if not isinstance(loss, (int, float, np.floating)) or not math.isfinite(loss):
        raise TrainerFailed(
            f"Trainer.fit: expected a finite loss, got {loss!r}: training diverged; lower the learning rate"
        )
    return FitResult(weights, int(examples), float(loss), _steps(result.steps), _sections(result.sections))


def _steps(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise TrainerFailed(f"Trainer.fit: expected steps to count the optimizer's steps, 0 or more, got {steps!r}")
    return int(steps)


def _sections(sections: Any) -> dict[int, bytes]:
    ok = isinstance(sections, dict) and len(sections) <= MAX_UPDATE_SECTIONS
    if not ok or not all(
        isinstance(number, int) and isinstance(data, bytes) and len(data) <= MAX_UPDATE_SECTION_BYTES
        for number, data in sections.items()
    ):
        most = f"at most {MAX_UPDATE_SECTIONS} numbers with at most {MAX_UPDATE_SECTION_BYTES} bytes each"
        raise TrainerFailed(f"Trainer.fit: expected sections to be a dict of {most}, got {sections!r:.100}")
    return dict(sections)


def checked_weights(weights: Any, shapes: list[tuple[int, ...]] | None, who: str) -> Weights:
    """Weights as float32 arrays; ``shapes`` None: any."""
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TrainerFailed(f"{who}: expected weights as a list of arrays, got {type(weights).__name__}")
    for number, each in enumerate(weights):
        if not isinstance(each, np.ndarray) or each.dtype.kind != "f":
            came = f"an array of {each.dtype}" if isinstance(each, np.ndarray) else type(each).__name__
            raise TrainerFailed(f"{who}: expected weights[{number}] to be a float array, got {came}")
        if not np.isfinite(each).all():
            raise TrainerFailed(
                f"{who}: weights[{number}] has NaN or infinity: lower the learning rate or check the data"
            )
    have = [each.shape for each in weights]
    if shapes is not None and have != shapes:
        raise TrainerFailed(
            f"{who}: expected weights of the shapes {shapes}, got {have}: return them in the order and "
            "shapes of Trainer.initial"
        )
    return [np.asarray(each, dtype=np.float32) for each in weights]
