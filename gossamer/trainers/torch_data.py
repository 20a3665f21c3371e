"""A device's examples as torch batches: a pair of tensors or arrays, a Dataset, or the Dataset of a DataLoader."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from gossamer.agent.trainer import Array
from gossamer.errors import InputError


class Rows(Protocol):
    """Examples by number."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, rows: Array, device: Any) -> tuple[Any, Any]:
        """Inputs and targets of these rows, on ``device``."""
        ...


def rows_of(data: Any, whose: str) -> Rows:
    """Examples of any of the accepted kinds. Raises `InputError`."""
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return Pair(data[0], data[1], whose)
    dataset = getattr(data, "dataset", data)
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise InputError(
            f"{whose}: expected a pair (x, y), a Dataset with a length, or a DataLoader of one, got "
            f"{type(data).__name__}: a stream has no order that a repeated fit could take again"
        )
    if len(dataset) == 0:
        raise InputError(f"{whose}: expected at least one example, got an empty {type(dataset).__name__}")
    return FromDataset(dataset, getattr(data, "collate_fn", None) or torch.utils.data.default_collate, whose)


class Pair:
    """Tensors in memory. Arrays of float64 become float32 and those of integers int64, as torch's losses want them."""

    def __init__(self, x: Any, y: Any, whose: str) -> None:
        self.x, self.y = _tensor(x, whose), _tensor(y, whose)
        if len(self.x) != len(self.y) or len(self.x) == 0:
            raise InputError(
                f"{whose}: expected a target for each example and at least one, got {len(self.x)} and {len(self.y)}"
            )

    def __len__(self) -> int:
        """See `Rows`."""
        return len(self.x)

    def batch(self, rows: Array, device: Any) -> tuple[Any, Any]:
        """See `Rows`."""
        index = torch.from_numpy(np.asarray(rows))
        return self.x[index].to(device), self.y[index].to(device)


class FromDataset:
    """A Dataset of pairs. A DataLoader lends its ``dataset`` and ``collate_fn``; the order is the trainer's."""

    def __init__(self, dataset: Any, collate: Any, whose: str) -> None:
        self._dataset, self._collate, self._whose = dataset, collate, whose

    def __len__(self) -> int:
        """See `Rows`."""
        return len(self._dataset)

    def batch(self, rows: Array, device: Any) -> tuple[Any, Any]:
        """See `Rows`."""
        made = self._collate([self._dataset[int(row)] for row in rows])
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise InputError(f"{self._whose}: expected examples as pairs (input, target), got {type(made).__name__}")
        return _moved(made[0], device), _moved(made[1], device)


def _tensor(values: Any, whose: str) -> Any:
    """Raises `InputError` for what is no array of numbers."""
    try:
        found = values.detach() if isinstance(values, torch.Tensor) else _from_array(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise InputError(f"{whose}: expected a pair of tensors or arrays of numbers: {error}") from error
    if found.ndim == 0:
        raise InputError(f"{whose}: expected arrays of examples, got a single number")
    return found


def _from_array(array: Array) -> Any:
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    elif array.dtype.kind in "iu":
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array))  # a copy: torch warns of arrays that cannot be written


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(each, device) for each in value)
    return value
