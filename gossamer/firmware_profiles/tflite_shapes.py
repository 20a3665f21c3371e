"""Names and shapes of a ``.tflite`` file's weights, read from the flatbuffer without a runtime.

A flatbuffer is tables that point to one another (https://flatbuffers.dev/internals): a table begins with the distance
back to its list of field offsets. Read are, by their numbers in TensorFlow's ``schema.fbs``: Model.subgraphs (2) and
signature_defs (7); SubGraph.tensors (0); Tensor.shape (0) and type (1); SignatureDef.inputs (0), outputs (1),
signature_key (2) and subgraph_index (4); TensorMap.name (0) and tensor_index (1). Every offset is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gossamer.errors import ConfigError

FLOAT32 = 0
NO_WEIGHTS = frozenset({"x", "y", "lr"})
MAX_ITEMS = 100_000


class _Table:
    """A table at ``at`` of the file's bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self._int("<i", at)
        self._size = self._int("<H", self._fields)

    def _int(self, kind: str, at: int) -> int:
        if at < 0:
            raise struct.error("an offset before the beginning")
        return int(struct.unpack_from(kind, self._data, at)[0])

    def _place(self, field: int) -> int | None:
        """Where a field's value is, or None: it has its default."""
        slot = 4 + 2 * field
        offset = self._int("<H", self._fields + slot) if slot < self._size else 0
        return self._at + offset if offset else None

    def number(self, field: int, kind: str) -> int:
        """A number of `struct`'s kind; 0 by default."""
        place = self._place(field)
        return 0 if place is None else self._int(kind, place)

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many they are."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + self._int("<I", place)
        count = self._int("<I", start)
        if count > MAX_ITEMS or start + 4 + count > len(self._data):
            raise struct.error(f"a vector of {count} items")
        return start + 4, count

    def numbers(self, field: int) -> tuple[int, ...]:
        """A vector of int32."""
        start, count = self._vector(field)
        return struct.unpack_from(f"<{count}i", self._data, start)

    def tables(self, field: int) -> Iterator[_Table]:
        """A vector of tables."""
        start, count = self._vector(field)
        for i in range(count):
            slot = start + 4 * i
            yield _Table(self._data, slot + self._int("<I", slot))

    def text(self, field: int) -> str:
        """A string."""
        start, count = self._vector(field)
        return self._data[start : start + count].decode("utf-8", "replace")


def weights(data: bytes, where: str) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each weight, by name.

    They are the inputs of the signature ``train`` beside x, y and lr, or of ``set_weights`` where there is one. Raises
    `ConfigError` for what is no such file.
    """
    if data[4:8] != b"TFL3":
        raise ConfigError(f"{where}: expected a .tflite file (TFL3 at byte 4), got {data[4:8]!r}")
    try:
        model = _Table(data, struct.unpack_from("<I", data)[0])
        signatures = {each.text(2): each for each in model.tables(7)}
        chosen = signatures.get("set_weights") or signatures.get("train")
        if chosen is None:
            has = ", ".join(signatures) or "none"
            raise ConfigError(f"{where}: expected a signature 'train', found {has}; give the shapes instead")
        tensors = list(list(model.tables(2))[chosen.number(4, "<I")].tables(0))
        found = []
        for each in chosen.tables(0):
            tensor = tensors[each.number(1, "<I")]
            if each.text(0) not in NO_WEIGHTS and tensor.number(1, "<b") == FLOAT32:
                found.append((each.text(0), tensor.numbers(0)))
    except (struct.error, IndexError) as error:
        raise ConfigError(f"{where}: the file is cut off or damaged ({error})") from error
    if not found:
        raise ConfigError(f"{where}: no weights among the inputs of its signatures; give the shapes instead")
    return sorted(found)
