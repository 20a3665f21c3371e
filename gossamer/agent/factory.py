"""Where a trainer's factory comes from: a module that can be imported, or a script by its file.

``package.module:factory`` is imported. ``train.py:factory``, anything before the colon that ends in .py or has a
slash in it, is a file: the user's own script, whose main part is kept from running again by its
``if __name__ == "__main__"``, as with the *spawn* method of multiprocessing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from gossamer.errors import ConfigError

Factory = Callable[..., Any]

SCRIPT_NAME = "__gossamer_script__"
"""Of a script whose own name belongs to another module."""

#: The module that was ``__main__`` before the script took its place: code that still runs needs its globals.
_KEPT: list[ModuleType] = []


def is_file(module: str) -> bool:
    """Whether the part before the colon names a file.

    >>> is_file("train.py"), is_file("/opt/gait/train"), is_file("gait.model")
    (True, True, False)
    """
    return module.endswith(".py") or "/" in module


def load_factory(spec: str, path: Sequence[str] = (), arguments: Sequence[str] | None = None) -> Factory:
    """The factory that ``spec`` names; ``path`` goes in front of ``sys.path``.

    ``arguments``: this process exists for the script alone, which sees them as ``sys.argv[1:]`` and itself as
    ``__main__`` (what it stored under that name is found again); None: some other program imports it.

    Raises :class:`ConfigError`: it is not there, or it ended the process instead of defining something.
    """
    sys.path[:0] = path
    module_name, _, attribute = spec.partition(":")
    if arguments is not None:
        sys.argv[1:] = arguments
    try:
        module = _script(spec, module_name, arguments is not None) if is_file(module_name) else _named(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"trainer {spec!r}: no module named {error.name}. Install it into this environment, or name its "
            "directory in trainer_path"
        ) from error
    except SystemExit as error:
        raise ConfigError(
            f"trainer {spec!r}: {module_name} ended with exit code {error.code} while it was imported: put what is "
            'to run only as a program under `if __name__ == "__main__":`'
        ) from error
    try:
        factory: Factory = getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f"trainer {spec!r}: module {module_name} has no {attribute!r}") from error
    return factory


def _named(name: str) -> ModuleType:
    return importlib.import_module(name)


def _script(spec: str, name: str, alone: bool) -> ModuleType:
    """Import a file under its own name, its directory in front as if Python had been called with it."""
    file = _found(spec, name)
    own = file.stem
    known = sys.modules.get(own)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    loader = SourceFileLoader(SCRIPT_NAME if known is not None else own, str(file))
    made = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
    assert made is not None  # noqa: S101 - with a loader there always is one
    module = importlib.util.module_from_spec(made)
    sys.modules[loader.name] = module
    if alone:
        sys.argv[0] = str(file)
        _KEPT.append(sys.modules["__main__"])
        sys.modules["__main__"] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(loader.name, None)
        raise
    return module


def _found(spec: str, name: str) -> Path:
    """A relative name is looked for where modules would be: in ``sys.path``, then in the working directory."""
    places = [Path(each) for each in sys.path if each] + [Path.cwd()]
    for place in places:
        if (place / name).is_file():
            return (place / name).resolve()
    raise ConfigError(f"trainer {spec!r}: no file {name}. Give its whole path, or name its directory in trainer_path")
