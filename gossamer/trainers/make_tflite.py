"""Make a ``.tflite`` file that can be trained on devices: ``python -m gossamer.trainers.make_tflite``.

    python -m gossamer.trainers.make_tflite digits.tflite --input 64 --layers dense:32,dense:10
    python -m gossamer.trainers.make_tflite watch.tflite --input 100x6 --layers conv:24:5:2,conv:19:5:2,pool,dense:7

Layers: ``dense:UNITS``, ``conv:CHANNELS:TAPS[:STRIDE]`` over time, ``pool`` (mean and maximum over time); a relu stands
behind each but the last, which gives the classes. Needs tensorflow (``pip install 'gossamer[tflite-make]'``), on one
machine, once; devices need only a runtime. The file has builtin operations alone.

Two forms (docs/trainers.md). *stateless*: the weights are inputs and outputs,
``train(weights..., x, y, lr) -> new_weights..., loss`` and ``infer(weights..., x) -> logits``. *get-set*: the file
keeps them, ``train(x, y, lr) -> loss``, ``infer(x) -> logits``, ``get_weights(one)``, ``set_weights(weights...)``.
``lr``, ``one`` and ``loss`` are arrays of one element: inputs without dimensions crash a runtime on aarch64.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import ConfigError, GossamerError, InputError

if TYPE_CHECKING:
    from gossamer.trainers.tflite_layers import Layer, Network

FORMS = ("stateless", "get-set")
LOSSES = ("cross-entropy", "squared-error")
LAYERS = "dense:UNITS, conv:CHANNELS:TAPS[:STRIDE], pool"


def make(network: Network, form: str = "stateless", *, batch: int | None = None) -> bytes:
    """The file's bytes; ``batch`` None: for batches of any size.

    Raises `InputError` for a forward function or a loss that needs more than builtin operations.
    """
    import tensorflow as tf

    if form not in FORMS:
        raise InputError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    module, signatures = (_stateless if form == "stateless" else _get_set)(tf, network, batch)
    with tempfile.TemporaryDirectory() as directory:
        concrete = {name: each.get_concrete_function() for name, each in signatures.items()}
        tf.saved_model.save(module, directory, signatures=concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = form == "get-set"
        try:
            return bytes(converter.convert())
        except Exception as error:
            raise InputError(
                f"the network does not convert to builtin operations: {str(error)[-600:]}. Give each step a gradient "
                "by hand, as gossamer/trainers/tflite_layers.py does"
            ) from error


def _specs(tf: Any, network: Network, batch: int | None) -> tuple[list[Any], Any, Any, Any]:
    """Of the weights, x, y and lr."""
    weights = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in network.shapes.items()]
    x = tf.TensorSpec([batch, *network.incoming], tf.float32, name="x")
    y = tf.TensorSpec([batch, network.outputs], tf.float32, name="y")
    return weights, x, y, tf.TensorSpec([1], tf.float32, name="lr")


def _stateless(tf: Any, network: Network, batch: int | None) -> tuple[Any, dict[str, Any]]:
    names = list(network.shapes)
    weights, x, y, lr = _specs(tf, network, batch)

    def train(*given: Any) -> dict[str, Any]:
        current, (x, y, lr) = list(given[:-3]), given[-3:]
        with tf.GradientTape() as tape:
            tape.watch(current)
            loss = network.loss(network.forward(dict(zip(names, current, strict=True)), x), y)
        gradients = tape.gradient(loss, current)
        new = {f"new_{name}": w - lr * g for name, w, g in zip(names, current, gradients, strict=True)}
        return {**new, "loss": tf.reshape(loss, [1])}

    def infer(*given: Any) -> dict[str, Any]:
        return {"logits": network.forward(dict(zip(names, given[:-1], strict=True)), given[-1])}

    module = tf.Module()
    module.train = tf.function(train, input_signature=[*weights, x, y, lr])
    module.infer = tf.function(infer, input_signature=[*weights, x])
    return module, {"train": module.train, "infer": module.infer}


def _get_set(tf: Any, network: Network, batch: int | None) -> tuple[Any, dict[str, Any]]:
    specs, x, y, lr = _specs(tf, network, batch)
    module = tf.Module()
    module.kept = {name: tf.Variable(tf.zeros(shape), name=name) for name, shape in network.shapes.items()}

    def train(x: Any, y: Any, lr: Any) -> dict[str, Any]:
        kept = list(module.kept.values())
        with tf.GradientTape() as tape:
            loss = network.loss(network.forward(module.kept, x), y)
        for w, g in zip(kept, tape.gradient(loss, kept), strict=True):
            w.assign(w - lr * g)
        return {"loss": tf.reshape(loss, [1])}

    def get_weights(one: Any) -> dict[str, Any]:
        return {name: w * one for name, w in module.kept.items()}  # an output must depend on an input

    def set_weights(weights: dict[str, Any]) -> dict[str, Any]:
        for name, w in module.kept.items():
            w.assign(weights[name])
        return {"ok": tf.reshape(tf.reduce_sum(weights[next(iter(module.kept))]), [1])}

    one = tf.TensorSpec([1], tf.float32, name="one")
    module.train = tf.function(train, input_signature=[x, y, lr])
    module.infer = tf.function(lambda x: {"logits": network.forward(module.kept, x)}, input_signature=[x])
    module.get_weights = tf.function(get_weights, input_signature=[one])
    module.set_weights = tf.function(set_weights, input_signature=[{spec.name: spec for spec in specs}])
    names = ("train", "infer", "get_weights", "set_weights")
    return module, {name: getattr(module, name) for name in names}


def parse_layers(text: str) -> list[Layer]:
    """Layers of a description as in the module's text. Raises `InputError`."""
    from gossamer.trainers.tflite_layers import Conv, Dense, Pool

    kinds: dict[str, tuple[Any, range]] = {
        "dense": (Dense, range(1, 2)), "conv": (Conv, range(2, 4)), "pool": (Pool, range(1)),
    }  # fmt: skip
    layers = []
    for word in text.split(","):
        kind, *numbers = word.strip().split(":")
        make_layer, arguments = kinds.get(kind, (None, range(0)))
        if make_layer is None or len(numbers) not in arguments or not all(n.isdigit() and int(n) for n in numbers):
            raise InputError(f"layer {word!r}: expected one of {LAYERS}")
        layers.append(make_layer(*map(int, numbers)))
    return layers


def parse_input(text: str) -> tuple[int, ...]:
    """``64`` or ``100x6``. Raises `InputError`."""
    sides = text.split("x")
    if not all(side.isdigit() and int(side) for side in sides):
        raise InputError(f"--input {text!r}: expected the shape of one example, such as 64 or 100x6")
    return tuple(map(int, sides))


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gossamer.trainers.make_tflite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="where to write the model")
    parser.add_argument("--input", required=True, help="shape of one example: 64, or 100x6 (100 samples of 6 sensors)")
    parser.add_argument("--layers", required=True, help=f"comma-separated: {LAYERS}")
    parser.add_argument("--loss", choices=LOSSES, default=LOSSES[0])
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--batch", type=int, default=None, help="a fixed batch size (default: any)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        data = _made(options)
    except GossamerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.file.write_bytes(data)
    print(f"{options.file}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    return 0


def _made(options: argparse.Namespace) -> bytes:
    try:
        from gossamer.trainers.tflite_layers import cross_entropy, network, squared_error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"making a .tflite file needs {error.name}: pip install 'gossamer[tflite-make]', on this machine only"
        ) from error
    incoming, layers = parse_input(options.input), parse_layers(options.layers)
    loss = cross_entropy if options.loss == LOSSES[0] else squared_error
    try:
        return make(network(incoming, layers, loss), options.form, batch=options.batch)
    except (IndexError, ValueError) as error:
        raise InputError(f"--input {options.input} does not go with --layers {options.layers}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
