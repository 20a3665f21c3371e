"""What ``import gossamer`` and each public name load, seen in fresh processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import gossamer

from .scripts import answer

#: torch is no part of this environment: tests/system/test_projects.py asks in one that has it.
NAMES_HERE = ["Agent", "NumpyTrainer", "TFLiteTrainer", "serve"]
NAMES = ["Agent", "NumpyTrainer", "TFLiteTrainer", "TorchTrainer", "serve"]
HEAVY = {
    "numpy", "torch", "tensorflow", "tflite_runtime", "ai_edge_litert", "sqlalchemy", "typer", "rich", "starlette",
    "uvicorn", "amqtt", "asyncio", "multiprocessing", "paho", "cryptography",
}  # fmt: skip
#: Besides the standard library; a trainer's runtime is imported when the trainer is made, numpy for its arrays.
ALLOWED = {
    "Agent": {"paho"}, "serve": set(), "NumpyTrainer": {"numpy"}, "TFLiteTrainer": {"numpy"},
}  # fmt: skip


def loaded(code: str) -> set[str]:
    code = f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    exit_code, out, err = answer("-c", code, cwd=Path(__file__).parent)
    assert exit_code == 0, err
    return set(out.split())


@pytest.mark.parametrize("code", ["import gossamer", "import gossamer.agent", "import gossamer.api"])
def test_a_package_loads_nothing(code: str) -> None:
    assert not HEAVY & loaded(code)


@pytest.mark.parametrize("name", NAMES_HERE)
def test_a_name_loads_what_it_needs(name: str) -> None:
    assert HEAVY & loaded(f"from gossamer import {name}") == ALLOWED[name]


def test_the_public_names_are_these() -> None:
    assert sorted(gossamer.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(gossamer))
    with pytest.raises(AttributeError, match="public names: Agent"):
        gossamer.agnet  # noqa: B018


def test_a_name_that_lacks_its_library_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from gossamer import TorchTrainer"
    exit_code, _, err = answer("-c", code, cwd=Path(__file__).parent)
    assert exit_code == 1
    assert "pip install 'gossamer[torch]'" in err
