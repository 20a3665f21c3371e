"""The layout of a model, from whatever says it: a line of shapes, a layout file, or a model file.

========================================  =====================================================================
``784x128,128,128x10,10``                 shapes, inputs before outputs; ``784x128@28x28`` declares a grid of sensors
``layout.json``                           ``[["kernel", [784, 128]], ...]``, as `Layout.to_lists` gives it
``layout.toml``                           ``[arrays]`` name = shape, ``[axes]`` name = grid
``model.npz``                             numpy arrays; integers and booleans are left out
``model.tflite``                          the weights of its training signature, alphabetically
``model.pt``, ``model.pth``               a saved torch ``state_dict``; running statistics are left out
========================================  =====================================================================

Nothing is executed, unpickled or decompressed beyond the few bytes that hold shapes, and no runtime is needed.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gossamer.compression.layout import Layout
from gossamer.errors import ConfigError, LayoutMismatch
from gossamer.firmware_profiles import tflite_shapes, torch_shapes
from gossamer.settings import parse_toml

Shapes = list[tuple[str, tuple[int, ...]]]

MAX_FILE_BYTES = 1 << 31
_ARRAY = r"\d{1,10}(?:x\d{1,10})*(?:@-?\d{1,10}(?:x-?\d{1,10})*)?"
_SHAPES = re.compile(rf"{_ARRAY}(?:,{_ARRAY})*", re.ASCII)
DAMAGE = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What the readers, `zipfile` and numpy raise on a file in which bytes are wrong, beside what they say themselves."""


def layout_of(model: str) -> Layout:
    """The layout that ``model`` names: a file, else a line of shapes. Raises `ConfigError`.

    >>> layout_of("64x32@8x8,32,32x10,10").size
    2410
    """
    text = model.replace(" ", "")
    path = Path(model)
    try:
        if _SHAPES.fullmatch(text) and not path.exists():
            return _of_line(text)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            known = ", ".join(READERS)
            raise ConfigError(f"model {model!r}: expected shapes as 784x128,128,128x10,10 or a file ({known})")
        if not path.is_file():
            raise ConfigError(f"model {model}: no such file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"model {model}: expected at most {MAX_FILE_BYTES:,} bytes, got {path.stat().st_size:,}")
        layout = reader(path)
    except ConfigError:
        raise
    except LayoutMismatch as error:
        raise ConfigError(f"model {model}: {error}") from error
    except OSError as error:
        raise ConfigError(f"model {model} cannot be read: {error}") from error
    except DAMAGE as error:
        raise ConfigError(f"model {model} cannot be read, the file is damaged: {error}") from error
    if layout.size == 0:
        raise ConfigError(f"model {model}: expected parameters of floating point, found none")
    return layout


def _of_line(text: str) -> Layout:
    entries, axes = [], []
    for position, part in enumerate(text.split(",")):
        shape, _, grid = part.partition("@")
        entries.append((str(position), _sides(shape)))
        if grid:
            axes.append((str(position), _sides(grid)))
    return Layout(tuple(entries), tuple(axes))


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x"))


def _of_json(path: Path) -> Layout:
    try:
        return Layout.from_lists(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, IndexError, KeyError) as error:
        if isinstance(error, LayoutMismatch):
            raise
        raise ConfigError(f'{path}: expected [["kernel", [784, 128]], ...], got something else ({error})') from error


def _of_toml(path: Path) -> Layout:
    table = parse_toml(path.read_text(encoding="utf-8"))
    arrays, axes = table.get("arrays"), table.get("axes", {})
    if not isinstance(arrays, dict) or not isinstance(axes, dict) or set(table) - {"arrays", "axes"}:
        raise ConfigError(f"{path}: expected a table [arrays] of shapes and perhaps [axes], got {', '.join(table)}")
    for name, sides in (*arrays.items(), *axes.items()):
        if not isinstance(sides, list) or not all(type(side) is int for side in sides):
            raise ConfigError(f"{path}: {name}: expected a list of whole numbers as [784, 128], got {sides!r}")
    return Layout(
        tuple((name, tuple(shape)) for name, shape in arrays.items()),
        tuple((name, tuple(sides)) for name, sides in axes.items()),
    )


def _of_npz(path: Path) -> Layout:
    """Only the heads of the arrays are read."""
    from numpy.lib import format as npy

    found: Shapes = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith(".npy"):
                    continue
                with archive.open(name) as member:
                    version = npy.read_magic(member)
                    head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = head(member)
                if dtype.kind == "f":
                    found.append((name.removesuffix(".npy"), tuple(shape)))
    except (zipfile.BadZipFile, ValueError) as error:
        raise ConfigError(f"{path}: expected a .npz file of numpy: {error}") from error
    return Layout(tuple(found))


def _of_tflite(path: Path) -> Layout:
    return Layout(tuple(tflite_shapes.weights(path.read_bytes(), str(path))))


def _of_torch(path: Path) -> Layout:
    return Layout(tuple(torch_shapes.parameters(path)))


READERS: dict[str, Callable[[Path], Layout]] = {
    ".json": _of_json, ".toml": _of_toml, ".npz": _of_npz, ".tflite": _of_tflite, ".pt": _of_torch, ".pth": _of_torch,
}  # fmt: skip
"""Ending of a file's name -> who reads it."""


def described(layout: Layout) -> str:
    """The arrays in a line, as `layout_of` takes it."""
    grids: dict[str, Sequence[Any]] = dict(layout.axes)
    parts = []
    for name, shape in layout.entries:
        grid = "@" + "x".join(map(str, grids[name])) if name in grids else ""
        parts.append(("x".join(map(str, shape)) or "1") + grid)
    return ",".join(parts)
