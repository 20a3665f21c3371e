"""A factory in the hand of a script, as a name under which the training child can import it.

A fit runs in another process, so what is passed is never the object but where it is defined: module and name, or
for the script that was started, its file. What cannot be named so is refused here, with the mend.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gossamer
from gossamer.agent.config import Script, check_trainer
from gossamer.errors import ConfigError, InputError

_FORM = "write `def trainer(): return ...` at the top level of the module, and pass `trainer` without calling it"


def reference(trainer: Callable[..., Any] | str) -> Script:
    """Where the child finds ``trainer``: a module-level factory, or "package.module:factory".

    Raises :class:`InputError` for a lambda, a nested function, a method, an object that was made already.
    """
    path = tuple(Path(each) for each in own_path())
    if isinstance(trainer, str):
        try:
            check_trainer(trainer)
        except ConfigError as error:
            raise InputError(str(error)) from error
        return Script(trainer, path)
    if callable(getattr(trainer, "fit", None)) and not isinstance(trainer, type):
        raise InputError(f"expected a factory, got a {type(trainer).__name__} that is made already: {_FORM}")
    name, module_name = getattr(trainer, "__qualname__", None), getattr(trainer, "__module__", None)
    if not callable(trainer) or not isinstance(name, str) or not isinstance(module_name, str):
        raise InputError(f"expected a factory, got {trainer!r}: {_FORM}; what it needs stands in [trainer_options]")
    if not name.isidentifier():
        raise InputError(f"{name} of {module_name} cannot be found by another process: {_FORM}")
    module = sys.modules.get(module_name)
    if module is None or getattr(module, name, None) is not trainer:
        raise InputError(f"{module_name}.{name} is not what was passed: {_FORM}")
    if module_name != "__main__":
        return Script(f"{module_name}:{name}", path)
    return Script(f"{main_name(module)}:{name}", path, tuple(sys.argv[1:]))


def main_name(main: ModuleType) -> str:
    """How to import the program that runs: its module if it was started with ``-m``, else its file."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is None or not Path(file).is_file():
        raise InputError(
            "the trainer is defined where another process cannot import it (a notebook, the prompt, -c): "
            'put it into a file gait.py and pass "gait:trainer"'
        )
    return str(Path(file).resolve())


def own_path() -> list[str]:
    """The directories in which this program finds modules and a new interpreter would not, absolute."""
    there = {*_installed(), str(package_root()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    real = {str(Path(each).resolve()) for each in there if each}
    found = dict.fromkeys(str(Path(each).resolve()) for each in sys.path)
    return [each for each in found if each not in real and Path(each).exists()]


def package_root() -> Path:
    """The directory that holds this package: site-packages, or a checkout."""
    return Path(gossamer.__file__).resolve().parents[1]


def _installed() -> list[str]:
    standard = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    standard += [str(Path(each) / "lib-dynload") for each in standard]
    return [*standard, *site.getsitepackages(), site.getusersitepackages()]
