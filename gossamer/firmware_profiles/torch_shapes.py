"""Names and shapes in a saved torch ``state_dict``, read without torch and without unpickling.

``torch.save`` writes a zip whose ``data.pkl`` is a program for the pickle machine. It is not run: its operations are
listed (`pickletools`, which executes nothing) and followed on a stack of plain values, on which a call is a record of
what would have been called. Of all calls only ``_rebuild_tensor_v2`` and ``_rebuild_parameter`` mean anything here.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gossamer.errors import ConfigError

MAX_PROGRAM_BYTES = 16 << 20
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch norm: no parameters, and no trainer sends them unless it is told to."""
FLOATS = ("FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage")
_PARAMETER = "torch._utils._rebuild_parameter"
_MARK = object()


@dataclass
class _Call:
    """What a program would have called."""

    name: str
    arguments: tuple[Any, ...]


@dataclass
class _Machine:
    """A stack and a memo of plain values."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def marked(self) -> list[Any]:
        """Take everything down to the last mark."""
        at = max(i for i, each in enumerate(self.stack) if each is _MARK)
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def run(self, name: str, argument: Any) -> None:
        """Follow one operation."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name.startswith(("BININT", "INT", "LONG", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINFLOAT")):
            self.stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(argument.replace(" ", "."))
        elif name in _STEPS:
            _STEPS[name](self)
        elif name not in ("PROTO", "STOP", "FRAME"):
            raise ValueError(f"operation {name}")

    def taken(self, count: int) -> tuple[Any, ...]:
        """Take so many values off the stack."""
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise IndexError("the stack is empty")
        del self.stack[-count:]
        return values

    def set_items(self, pairs: list[Any]) -> None:
        """Put keys and values into the table below them."""
        target = self.stack[-1]
        if isinstance(target, _Call):  # an OrderedDict, made by a call
            target.arguments = (*target.arguments, *zip(pairs[::2], pairs[1::2], strict=True))
        else:
            target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def ignored(self) -> None:
        """Attributes set on a value: of no interest."""
        self.taken(1)

    def called(self) -> None:
        """Note a call instead of making it."""
        name, arguments = self.taken(2)
        self.stack.append(_Call(str(name), tuple(arguments)))


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": lambda: _MARK, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_LIST": list, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.marked())),
    "TUPLE1": lambda m: m.stack.append(m.taken(1)),
    "TUPLE2": lambda m: m.stack.append(m.taken(2)),
    "TUPLE3": lambda m: m.stack.append(m.taken(3)),
    "SETITEM": lambda m: m.set_items(list(m.taken(2))),
    "SETITEMS": lambda m: m.set_items(m.marked()),
    "REDUCE": _Machine.called,
    "BINPERSID": lambda m: m.stack.append(_Call("storage", m.taken(1))),
    "BUILD": _Machine.ignored,
}


def parameters(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each parameter, in the file's order, outputs last as models travel; tied ones once.

    Raises `ConfigError` for a file that is no plain state_dict.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if inside is None or archive.getinfo(inside).file_size > MAX_PROGRAM_BYTES:
                raise ConfigError(f"{path}: expected what torch.save(model.state_dict(), file) writes")
            program = archive.read(inside)
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{path}: expected what torch.save writes since 1.6, a zip: {error}") from error
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(program):
            machine.run(operation.name, argument)
        tensors = dict(_items(machine.stack[-1]))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected a plain state_dict of tensors, found more ({error}); save model.state_dict() alone, or "
            "give the shapes"
        ) from error
    found: dict[object, tuple[str, tuple[int, ...]]] = {}
    for name, value in tensors.items():
        tensor = value.arguments[0] if isinstance(value, _Call) and value.name == _PARAMETER else value
        shape = _shape(str(name), tensor)
        if shape is not None:
            found.setdefault((tensor.arguments[0].arguments[0][2], tensor.arguments[1], shape), (str(name), shape))
    return list(found.values())


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a dict, or of a call that makes one."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, _Call) and value.name == "collections.OrderedDict":
        return [each for each in value.arguments if isinstance(each, tuple) and len(each) == 2]
    raise ValueError(f"a {type(value).__name__} in the place of a dict")


def _shape(name: str, value: Any) -> tuple[int, ...] | None:
    """The shape as it travels: torch has a matrix's outputs first; None for what is no parameter."""
    if not isinstance(value, _Call) or value.name != "torch._utils._rebuild_tensor_v2":
        return None
    storage, _, shape = value.arguments[:3]
    kind = storage.arguments[0][1] if isinstance(storage, _Call) else ""
    if name.rpartition(".")[2] in STATISTICS or str(kind).rpartition(".")[2] not in FLOATS:
        return None
    return (*shape[1:], shape[0]) if len(shape) > 1 else tuple(shape)
