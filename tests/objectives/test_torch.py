"""The same objectives under torch: autograd agrees with the coefficients, and a network learns by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.environments import ROOT, run_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]  # the first run installs torch


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    done = run_in("torch", "-W", "ignore", ROOT / "tests" / "objectives" / "torch_side.py")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_autograd_agrees_with_the_coefficients(seen: dict[str, Any]) -> None:
    assert len(seen["errors"]) == 17
    assert {name: error for name, error in seen["errors"].items() if not error < 1e-12} == {}


def test_a_network_learns(seen: dict[str, Any]) -> None:
    for spec, figures in seen["trained"].items():
        assert figures["after"] > 0.85 > figures["before"], spec
    assert [figures["sections"] for figures in seen["trained"].values()] == [1, 1, 0]
