"""What each peer does with tensors: encode to bytes, decode. Runs in their environment, on their unchanged files.

Every function pair is one call of the peer's own code. Bytes are of the values alone: shapes, seeds, scales and level
tables that a peer sends beside them are not counted, in its favour; Flower's array record is counted whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = list[np.ndarray]


class Peer(NamedTuple):
    """``encode(arrays) -> (count of bytes, what decode needs)``, ``decode(that) -> arrays``."""

    name: str
    encode: Callable[[Arrays], tuple[int, Any]]
    decode: Callable[[Any], Arrays]


def without_package_init(name: str) -> None:
    """Let modules of package ``name`` be imported without its ``__init__``, which asks for much they do not use."""
    top, *inner = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(top)
    path = Path(next(iter(spec.submodule_search_locations)))
    for depth in range(len(inner) + 1):
        package = types.ModuleType(".".join([top, *inner[:depth]]))
        package.__path__ = [str(path.joinpath(*inner[:depth]))]
        sys.modules[package.__name__] = package


Forward = Callable[[np.ndarray], tuple[int, Any]]
Backward = Callable[[Any], np.ndarray]


def tensor_by_tensor(name: str, forward: Forward, backward: Backward) -> Peer:
    """A peer that treats every tensor of a model by itself."""

    def encode(arrays: Arrays) -> tuple[int, Any]:
        made = [forward(array) for array in arrays]
        return sum(size for size, _ in made), [state for _, state in made]

    return Peer(name, encode, lambda states: [backward(state) for state in states])


def openfl(name: str, pipeline: Any) -> Peer:
    """A pipeline of OpenFL, as its tensor codec calls it."""

    def forward(array: np.ndarray) -> tuple[int, Any]:
        data, metadata = pipeline.forward(array)
        return len(data), (data, metadata)

    def backward(state: Any) -> np.ndarray:
        data, metadata = state
        return pipeline.backward(data, list(metadata))

    return tensor_by_tensor(name, forward, backward)


def eden(bits: int) -> Peer:
    """OpenFL's Eden; tensors of up to 100 values stay float32, its default."""
    module = importlib.import_module("openfl.pipelines.eden_pipeline")
    return openfl(f"OpenFL Eden {bits} bit", module.EdenPipeline(n_bits=bits))


def stc(p: float) -> Peer:
    """OpenFL's sparse ternary compression; p = 0.1 is its default."""
    module = importlib.import_module("openfl.pipelines.stc_pipeline")
    return openfl(f"OpenFL STC p={p:g}", module.STCPipeline(p_sparsity=p))


def adaquant() -> Peer:
    """NVFlare's AdaQuant with its defaults, which include bz2, as its quantizer and dequantizer filters call it."""
    import torch

    quantizer = importlib.import_module("nvflare.app_opt.pt.quantization.ada_quant").AdaQuantizer()

    def forward(array: np.ndarray) -> tuple[int, Any]:
        values, state = quantizer.quantize(torch.as_tensor(array))
        packed = state.get("compressed_tensor")
        return int(np.asarray(values if packed is None else packed).nbytes), (values, state)

    def backward(made: Any) -> np.ndarray:
        values, state = made
        tensor = torch.as_tensor(values)
        return (quantizer.dequantized(tensor, state) if state else tensor).numpy().astype(np.float32)

    return tensor_by_tensor("NVFlare AdaQuant + bz2", forward, backward)


def flower() -> Peer:
    """Flower's record of a client's reply: arrays and one metric, serialised as its message content."""
    from flwr.common import ArrayRecord, MetricRecord, RecordDict
    from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
    from flwr.proto.recorddict_pb2 import RecordDict as Proto

    def encode(arrays: Arrays) -> tuple[int, bytes]:
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 100})})
        data = recorddict_to_proto(content).SerializeToString()
        return len(data), data

    def decode(data: bytes) -> Arrays:
        return recorddict_from_proto(Proto.FromString(data)).array_records["arrays"].to_numpy_ndarrays()

    return Peer("Flower ArrayRecord", encode, decode)


def all_peers() -> list[Peer]:
    """The peers, in the order of the table."""
    without_package_init("openfl.pipelines")
    without_package_init("nvflare.app_opt.pt.quantization")
    return [eden(1), eden(2), eden(4), stc(0.1), stc(0.01), adaquant(), flower()]
