"""Reads seglearn's ``watch_dataset.npy``: a pickled dict of arrays, the one pickle this project opens.

The file is an ``.npy`` of dtype object, and numpy reads those only with ``allow_pickle=True``, which lets a
file call any function there is. A data set must not be able to run code, wherever it came from; so the
unpickler here knows four names, those that rebuild an array of numbers, and refuses every other.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.agent.trainer import Array
from gossamer.errors import ConfigError

# What the file measures (seglearn 1.2.5: 18,118,091 bytes), with room for a later version.
MAX_FILE_BYTES = 64_000_000

# What a damaged or foreign file may raise on the way.
UNREADABLE = (
    OSError, ValueError, LookupError, AttributeError, TypeError, EOFError, MemoryError,
    pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One set of an exercise: samples float64 (t, 6), person 0 to 9, exercise 0 to 6."""

    samples: Array
    person: int
    exercise: int


def read_recordings(path: Path) -> list[Recording]:
    """All recordings, in the file's order.

    Raises ConfigError if the file is missing, holds anything but arrays, or is not the data set.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than the watch data set: reinstall seglearn")
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ConfigError(f"{path} has an unknown .npy version: reinstall seglearn")
            np.lib.format.read_array_header_1_0(file)
            content: Any = ArrayUnpickler(file).load()
        table = content.item()
        rows = zip(table["X"], table["subject"], table["y"], strict=True)
        recordings = [Recording(np.asarray(x, np.float64), int(s) - 1, int(y)) for x, s, y in rows]
    except UNREADABLE as error:
        raise ConfigError(f"cannot read the watch data at {path} ({error}): reinstall seglearn") from error
    return recordings


class ArrayUnpickler(pickle.Unpickler):
    """Plain containers, numbers, strings and numpy arrays of them; nothing that could act."""

    def find_class(self, module: str, name: str) -> Any:
        """The four permitted names, under numpy's module names before and since version 2."""
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy.core.multiarray", "_reconstruct"): empty_array,
            ("numpy._core.multiarray", "_reconstruct"): empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): latin1_bytes,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refused to look up {module}.{name}")
        return allowed[module, name]


def empty_array(*_: Any) -> Array:
    """What numpy's ``_reconstruct`` returns: an array whose state follows."""
    return np.zeros(0, dtype=np.int8)


def latin1_bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 wrote bytes: as text of code points 0 to 255."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused to encode as {encoding!r}")
    return text.encode("latin1")
