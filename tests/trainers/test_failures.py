"""How a failed fit is told: by whom, with the place in the user's code, in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gossamer.agent.local import TrainerLocal
from gossamer.agent.runner import ChildSettings, run
from gossamer.agent.trainer import FitConfig, FitResult
from gossamer.compression.layout import Layout
from gossamer.errors import InputError, TrainerFailed
from tests.agent.test_runner import fit_fields
from tests.environments import ROOT


class Refusing:
    def fit(self, weights: Any, config: FitConfig) -> FitResult:
        raise InputError("x and y: no examples")

    gradient = fit


def told(how: str, **limits: Any) -> str:
    settings = ChildSettings("tests.trainers.zoo:failing", {"kind": "numpy", "how": how}, path=(ROOT,), **limits)
    with pytest.raises(TrainerFailed) as caught:
        run(settings, "fit", fit_fields())
    return str(caught.value)


def test_what_a_trainer_refuses_is_its_own_failure() -> None:
    start = [np.zeros(3, np.float32)]
    local = TrainerLocal(Refusing(), Layout.of(start), FitConfig(1, 8, 0.1, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(TrainerFailed, match=r"^x and y: no examples$"):
        local.fit(np.zeros(3))


def test_the_place_is_in_the_users_code_and_the_line_is_one() -> None:
    text = told("factory")
    assert text.startswith("JSONDecodeError: Expecting property name")
    assert "tests/trainers/zoo.py:" in text
    assert "\n" not in text


def test_a_crash_under_a_limit_points_to_the_limit() -> None:
    assert "was ended by SIGSEGV (out of memory? fit_memory_bytes is 4294967296)" in told("crash", memory_bytes=1 << 32)
    assert "out of memory" not in told("crash")


@pytest.mark.parametrize("words", ["failed to map segment from shared object", "std::bad_alloc"])
def test_whatever_says_so_is_out_of_memory(words: str) -> None:
    assert told(words) == "out of memory; see fit_memory_bytes"
