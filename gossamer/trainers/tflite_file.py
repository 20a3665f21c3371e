"""A trainable ``.tflite`` file and the runtime that executes it: ai-edge-litert or tflite-runtime, whichever is there.

Builtin operations alone, no delegates, one thread: so that a fit repeats to the bit. A file has one of two forms:

* stateless: ``train(weights..., x, y, lr) -> new_weights..., loss`` and ``infer(weights..., x)``;
* get-set: ``train(x, y, lr) -> loss``, ``infer(x)``, ``get_weights(one)`` and ``set_weights(weights...)``.

``lr``, ``one`` and ``loss`` have one element. ``train`` makes one step of plain gradient descent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gossamer.agent.trainer import Array, Weights
from gossamer.errors import ConfigError, InputError

NEW = "new_"
GET_SET = ("get_weights", "set_weights")
HOW_TO_MAKE = "`python -m gossamer.trainers.make_tflite` makes files that fit (docs/trainers.md)"


class Program(Protocol):
    """A file's form: holds the weights between steps."""

    shapes: dict[str, tuple[int, ...]]

    def load(self, weights: Weights) -> None:
        """Begin from these weights, and with nothing else of what came before."""
        ...

    def put(self, weights: Weights) -> None:
        """Go on from these weights."""
        ...

    def weights(self) -> Weights:
        """Where the steps have led."""
        ...

    def step(self, x: Array, y: Array, learning_rate: float) -> float:
        """One step on one batch; the batch's loss before it."""
        ...

    def outputs(self, x: Array) -> Array:
        """What the model says of a batch: (n, classes) or whatever ``infer`` gives."""
        ...


class ModelFile:
    """A file that has been opened once and found to be trainable; makes interpreters of it.

    Raises `ConfigError` for a missing file or runtime, `InputError` for a file that cannot be trained.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ConfigError(f"model file {path}: no such file")
        self._runtime = _runtime()
        interpreter = self.interpreter()
        self.signatures: dict[str, dict[str, list[str]]] = interpreter.get_signature_list()
        missing = [name for name in ("train", "infer") if name not in self.signatures]
        if missing:
            has = ", ".join(self.signatures) or "none"
            raise InputError(f"{path} has no signature {missing[0]!r} (it has: {has}): {HOW_TO_MAKE}")
        self.inputs = interpreter.get_signature_runner("train").get_input_details()
        lacking = {"x", "y", "lr"} - set(self.inputs)
        if lacking or "loss" not in self.signatures["train"]["outputs"]:
            what = f"input {sorted(lacking)[0]!r}" if lacking else "output 'loss'"
            raise InputError(f"{path}: signature 'train' has no {what}: {HOW_TO_MAKE}")

    def interpreter(self) -> Any:
        """A new interpreter, its variables as in the file."""
        try:
            return self._runtime.Interpreter(
                model_path=str(self.path),
                num_threads=1,
                experimental_op_resolver_type=self._runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self.path} cannot be loaded: {explained(error)}") from error

    def program(self, order: Sequence[str] | None = None) -> Program:
        """The file in its form; its weights in this order, or in that of their names.

        Raises `InputError` for a file of neither form, or an order of other weights.
        """
        if set(GET_SET) <= set(self.signatures):
            return GetSet(self, order)
        if set(self.inputs) > {"x", "y", "lr"}:
            return Stateless(self, order)
        raise InputError(
            f"{self.path}: nothing tells its weights. Expected them as inputs of 'train' with outputs 'new_' and the "
            f"same name, or the signatures {' and '.join(GET_SET)}: {HOW_TO_MAKE}"
        )


class Stateless:
    """Weights are inputs and outputs of ``train``: what comes out of one step goes into the next."""

    def __init__(self, file: ModelFile, order: Sequence[str] | None) -> None:
        interpreter = file.interpreter()
        self._train = interpreter.get_signature_runner("train")
        self._infer = interpreter.get_signature_runner("infer")
        self._output = _output(file)
        self.shapes = _shapes(file, file.inputs, set(file.inputs) - {"x", "y", "lr"}, order)
        given, made = file.signatures["infer"]["inputs"], file.signatures["train"]["outputs"]
        unmade = [name for name in self.shapes if NEW + name not in made]
        if unmade or set(given) != {*self.shapes, "x"}:
            what = f"'train' has no output {NEW + unmade[0]!r}" if unmade else f"'infer' takes {', '.join(given)}"
            raise InputError(f"{file.path}: {what}; the weights are {', '.join(self.shapes)}: {HOW_TO_MAKE}")
        self._current: dict[str, Array] = {}

    def load(self, weights: Weights) -> None:
        """See `Program`."""
        self.put(weights)

    def put(self, weights: Weights) -> None:
        """See `Program`."""
        self._current = _named(self.shapes, weights)

    def weights(self) -> Weights:
        """See `Program`."""
        return list(self._current.values())

    def step(self, x: Array, y: Array, learning_rate: float) -> float:
        """See `Program`."""
        found = _called(self._train, x=x, y=y, lr=_one(learning_rate), **self._current)
        self._current = {name: found[NEW + name] for name in self.shapes}
        return float(np.ravel(found["loss"])[0])

    def outputs(self, x: Array) -> Array:
        """See `Program`."""
        return np.asarray(_called(self._infer, x=x, **self._current)[self._output])


class GetSet:
    """The file's variables hold the weights. Every `load` starts a new interpreter: nothing else in it stays."""

    def __init__(self, file: ModelFile, order: Sequence[str] | None) -> None:
        self._file = file
        self._output = _output(file)
        details = file.interpreter().get_signature_runner("set_weights").get_input_details()
        self.shapes = _shapes(file, details, set(details), order)
        made = file.signatures["get_weights"]["outputs"]
        if set(made) != set(self.shapes):
            raise InputError(
                f"{file.path}: get_weights gives {', '.join(sorted(made))} and set_weights takes "
                f"{', '.join(self.shapes)}: expected the same names"
            )
        self._open()

    def _open(self) -> None:
        interpreter = self._file.interpreter()
        self._run = {name: interpreter.get_signature_runner(name) for name in ("train", "infer", *GET_SET)}

    def load(self, weights: Weights) -> None:
        """See `Program`."""
        self._open()
        self.put(weights)

    def put(self, weights: Weights) -> None:
        """See `Program`."""
        _called(self._run["set_weights"], **_named(self.shapes, weights))

    def weights(self) -> Weights:
        """See `Program`. Before the first `load`: as in the file."""
        names = self._file.signatures["get_weights"]["inputs"]
        found = _called(self._run["get_weights"], **{name: _one(1.0) for name in names})
        return [found[name] for name in self.shapes]

    def step(self, x: Array, y: Array, learning_rate: float) -> float:
        """See `Program`."""
        return float(np.ravel(_called(self._run["train"], x=x, y=y, lr=_one(learning_rate))["loss"])[0])

    def outputs(self, x: Array) -> Array:
        """See `Program`."""
        return np.asarray(_called(self._run["infer"], x=x)[self._output])


def explained(error: Exception) -> str:
    """A runtime's complaint in one line, with what to do about those that are known."""
    text = " ".join(str(error).split())
    flex = sorted(set(re.findall(r"Flex\w+", text)))
    if flex or "Select TensorFlow op" in text:
        return (
            f"it needs TensorFlow operations that the small runtimes do not have ({', '.join(flex) or text[:120]}). "
            "Convert it with TFLITE_BUILTINS alone, its gradients written by hand (gossamer/trainers/tflite_layers.py)"
        )
    return text[:400] or "the runtime gives no reason, as where memory is short; see fit_memory_bytes"


def _runtime() -> Any:
    """The module with ``Interpreter``. Raises `ConfigError`."""
    try:
        from ai_edge_litert import interpreter

        return interpreter
    except ModuleNotFoundError:
        pass
    try:
        from tflite_runtime import interpreter as legacy
    except ModuleNotFoundError as error:
        raise ConfigError(
            "TFLiteTrainer needs a runtime: pip install 'gossamer[tflite]' (ai-edge-litert), or "
            "'gossamer[tflite-legacy]' (tflite-runtime with numpy < 2)"
        ) from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"tflite-runtime cannot be imported: {error}; {_numpy_advice()}") from error
    if int(np.__version__.split(".")[0]) >= 2:
        raise ConfigError(f"tflite-runtime is for numpy 1 and fails with numpy {np.__version__}: {_numpy_advice()}")
    return legacy


def _numpy_advice() -> str:
    return "pip install 'numpy<2', or ai-edge-litert in its place (extras tflite-legacy and tflite)"


def _called(runner: Any, **inputs: Array) -> Mapping[str, Array]:
    """Run a signature. Raises `InputError`."""
    try:
        found: Mapping[str, Array] = runner(**inputs)
        return found
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the model file cannot be run: {explained(error)}") from error


def _shapes(
    file: ModelFile, details: Mapping[str, Any], names: set[str], order: Sequence[str] | None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights, in their order."""
    if order is not None and sorted(order) != sorted(names):
        raise InputError(f"order: expected the weights {', '.join(sorted(names))}, got {', '.join(order)}")
    shapes = {}
    for name in order or sorted(names):
        shape = tuple(int(side) for side in details[name]["shape_signature"])
        if details[name]["dtype"] is not np.float32 or not shape or min(shape) < 1:
            raise InputError(f"{file.path}: expected weight {name} as float32 of a fixed shape, got {shape}")
        shapes[name] = shape
    return shapes


def _named(shapes: Mapping[str, tuple[int, ...]], weights: Weights) -> dict[str, Array]:
    return {name: np.ascontiguousarray(w, dtype=np.float32) for name, w in zip(shapes, weights, strict=True)}


def _output(file: ModelFile) -> str:
    """Name of what ``infer`` gives."""
    names = file.signatures["infer"]["outputs"]
    if "logits" in names:
        return "logits"
    if len(names) != 1:
        raise InputError(f"{file.path}: expected one output of 'infer', or one named logits, got {', '.join(names)}")
    return names[0]


def _one(value: float) -> Array:
    return np.array([value], dtype=np.float32)
