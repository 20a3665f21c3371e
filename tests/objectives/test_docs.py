"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from gossamer import objectives

MODULES = [name for _, name, _ in pkgutil.iter_modules(objectives.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"gossamer.objectives.{name}")).failed == 0
