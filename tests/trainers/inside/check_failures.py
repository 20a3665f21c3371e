"""What becomes of a fit that fails, in a real child process with the real frameworks: one line each, one round."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from gossamer.agent.runner import ChildSettings, run
from gossamer.agent.work import first_model
from gossamer.errors import TrainerFailed
from tests.environments import ROOT
from tests.trainers.zoo import KINDS, SEED, make

KIND = KINDS[os.environ["GOSSAMER_TRAINERS"]][1]
MIB = 1 << 20
ENOUGH = 1024 * MIB if KIND == "torch" else 512 * MIB
"""Address space in which a small fit works: what docs/trainers.md names."""


def settings(how: str, factory: str = "failing", **changes: Any) -> ChildSettings:
    options = {"kind": KIND, "how": how} if factory == "failing" else {"kind": KIND, "rows": 1 << 20}
    limits = {"timeout_seconds": 60.0, "memory_bytes": ENOUGH, **changes}
    return ChildSettings(f"tests.trainers.zoo:{factory}", options, path=(ROOT,), **limits)


def fields(**changes: Any) -> dict[str, Any]:
    trainer = make(KIND)
    fit = {"local_epochs": 2, "batch_size": 16, "learning_rate": 0.1, "seed": 5, "round": 0, **changes}
    return {
        "model": None, "object": None, "expect": {"version": 0, "digest": first_model(trainer, SEED, 0).digest},
        "fit": fit, "job_seed": SEED, "cycle": 0, "codebooks": None, "memory": "ef14", "link": None, "epochs": None,
        "method": "fedavg", "sections": [], "device_index": 0, "participation": [0, 0, 3, 1], "secret": bytes(32),
        "devices": 3, "cohorts": 1, "codec": "sign", "codec_seed": 3, "residual": None,
    }  # fmt: skip


def failure(chosen: ChildSettings, **changes: Any) -> str:
    with pytest.raises(TrainerFailed) as caught:
        run(chosen, "fit", fields(**changes))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


def test_a_good_fit_within_the_limit_and_the_same_twice() -> None:
    first, again = (run(settings("good"), "fit", fields()) for _ in range(2))
    assert [each["type"] for each in first] == ["model", "update"]
    assert first == again


def test_nan_in_the_data() -> None:
    expected = "the loss became nan in local epoch 1 of 2, step " if KIND == "torch" else "in number 3 (from 0)"
    assert expected in failure(settings("nan"))


def test_divergence() -> None:
    text = failure(settings("good"), learning_rate=1e6, local_epochs=20)
    assert "lower the learning rate" in text


def test_an_exception_in_the_users_code_with_its_place() -> None:
    text = failure(settings("raise"))
    assert text.startswith(r"KeyError: 'no column\nnamed temperature' (")
    assert "tests/trainers/zoo.py:" in text


def test_more_memory_than_allowed() -> None:
    assert failure(settings("oom")) == "out of memory; see fit_memory_bytes"


def test_a_limit_too_small_to_begin_with() -> None:
    text = failure(settings("good", memory_bytes=(400 if KIND == "torch" else 70) * MIB))
    assert "out of memory" in text


def test_a_hang_is_ended() -> None:
    began = time.monotonic()
    text = failure(settings("hang", timeout_seconds=8.0))
    assert "the fit took longer than fit_timeout_seconds = 8 and was ended" in text
    assert time.monotonic() - began < 40


def test_more_memory_than_allowed_inside_the_framework() -> None:
    text = failure(settings("", "wide", memory_bytes=(1200 if KIND == "torch" else 900) * MIB), batch_size=1 << 20)
    assert "memory" in text
