"""Make the ``.tflite`` files of this directory: ``python -m tests.data.make_models DIRECTORY``. Needs tensorflow.

The good ones come from the project's own maker; the rest are files that people have: converted without signatures, with
operations that the small runtimes lack, with another ``infer``. ``digests.json`` says what tensorflow 2.21 makes of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from gossamer.trainers.make_tflite import main as make_tflite

DIGITS = ("--input", "64", "--layers", "dense:32,dense:10")
MADE: dict[str, tuple[str, ...]] = {
    "digits.tflite": DIGITS,
    "digits-get-set.tflite": (*DIGITS, "--form", "get-set"),
    "watch.tflite": ("--input", "100x6", "--layers", "conv:24:5:2,conv:19:5:2,pool,dense:7"),
    "digits-batch-16.tflite": (*DIGITS, "--batch", "16"),
    "line.tflite": ("--input", "3", "--layers", "dense:1", "--loss", "squared-error"),
    "conv.tflite": ("--input", "20x2", "--layers", "conv:4:3:2,pool,dense:3"),
}
W, X, Y = ((3, 2), (None, 3), (None, 2))


def spec(shape: Any, name: str) -> Any:
    return tf.TensorSpec(shape, tf.float32, name=name)


def converted(train: Any, infer: Any, *, flex: bool = False) -> bytes:
    """A file with these two signatures of one weight matrix."""
    module = tf.Module()
    module.train = tf.function(train, input_signature=[spec(W, "w"), spec(X, "x"), spec(Y, "y"), spec((1,), "lr")])
    module.infer = tf.function(infer, input_signature=[spec(W, "w"), spec(X, "x")])
    with tempfile.TemporaryDirectory() as directory:
        signatures = {name: getattr(module, name).get_concrete_function() for name in ("train", "infer")}
        tf.saved_model.save(module, directory, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if flex:
            converter.target_spec.supported_ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
        return bytes(converter.convert())


def infer(w: Any, x: Any) -> dict[str, Any]:
    return {"logits": tf.matmul(x, w)}


def flex_train(w: Any, x: Any, y: Any, lr: Any) -> dict[str, Any]:
    """With tensorflow's own gradient of relu."""
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_mean((tf.nn.relu(tf.matmul(x, w)) - y) ** 2)
    return {"new_w": w - lr * tape.gradient(loss, w), "loss": tf.reshape(loss, [1])}


def plain_train(w: Any, x: Any, y: Any, lr: Any) -> dict[str, Any]:
    apart = tf.matmul(x, w) - y
    return {"new_w": w - lr * tf.matmul(x, apart, transpose_a=True), "loss": tf.reshape(tf.reduce_mean(apart), [1])}


def nameless_train(w: Any, x: Any, y: Any, lr: Any) -> dict[str, Any]:
    """The new weights have a name of their own."""
    found = plain_train(w, x, y, lr)
    return {"updated": found["new_w"], "loss": found["loss"]}


def unsigned() -> bytes:
    function = tf.function(lambda x: x * 2.0, input_signature=[spec((1, 3), "x")]).get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())


def main(directory: Path) -> None:
    """Make them all, and the digests."""
    for name, options in MADE.items():
        assert make_tflite([str(directory / name), *options]) == 0
    (directory / "flex.tflite").write_bytes(converted(flex_train, infer, flex=True))
    (directory / "nameless.tflite").write_bytes(converted(nameless_train, infer))
    (directory / "unsigned.tflite").write_bytes(unsigned())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.glob("*.tflite"))}
    (directory / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
