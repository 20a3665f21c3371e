"""Spec strings."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from gossamer.compression import REGISTRY, codec
from gossamer.compression.codec import Codec
from gossamer.compression.registry import Method, Registry, method_of
from gossamer.compression.sparse import sparse_method
from gossamer.compression.ternary import SignValues
from gossamer.errors import InputError, UnknownCodec


@pytest.mark.parametrize(
    "spec",
    [
        *["", "rot3", "sign:3", "rot1:", "rot1:xx", "rot1:ls:ls", "fp32/q4", "SIGN", " sign"],
        *["ternary", "ternary:", "ternary:0", "ternary:-1", "ternary:1.01", "ternary:nan", "ternary:x"],
        *["ternary:0.1/q4", "topk:0.1", "topk/q4", "topk:0.1/q3", "topk:/q4"],
        *["ternary:0.1@", "ternary:0.1@row", "ternary:@layer", "ternary:0.1/msb/msb"],
        *["randk:0.1", "randk:0.1@layer/q4", "nf4:2"],
    ],
)
def test_unknown_specs(spec: str) -> None:
    with pytest.raises(UnknownCodec, match="expected") as caught:
        codec(spec)
    assert caught.value.exit_code == 2


def test_method_of() -> None:
    assert method_of("topk:0.01/q4") == "topk/q4"
    assert method_of("ternary:0.02") == "ternary"
    assert method_of("sign") == "sign"


def test_residuals_go_with_bias() -> None:
    unbiased = {m.name for m in REGISTRY.methods if not codec(m.examples[0]).uses_residual}
    assert unbiased == {"fp32", "q4s", "rot1", "rot2", "rot4", "randk/fp16", "randk/q4", "randk/sign"}


def test_tags_never_change() -> None:
    """A tag that moved would make bodies in the field unreadable."""
    assert {m.name: m.tag for m in REGISTRY.methods} == {
        "hist": 32,
        "nf4": 13,
        "ternary/msb": 20,
        "topk/q4/msb": 21,
        "topk/sign/msb": 22,
        "topk/fp16/msb": 23,
        "randk/fp16": 24,
        "randk/q4": 25,
        "randk/sign": 26,
        "fp32": 1,
        "fp16": 2,
        "q8": 3,
        "q4": 4,
        "q4s": 5,
        "sign": 6,
        "rot1": 7,
        "rot2": 8,
        "rot4": 9,
        "rot1:ls": 10,
        "rot2:ls": 11,
        "rot4:ls": 12,
        "ternary": 16,
        "topk/q4": 17,
        "topk/sign": 18,
        "topk/fp16": 19,
    }


def test_one_tag_one_method() -> None:
    first = REGISTRY.methods[0]
    other = Method("other", first.tag, first.build, first.open, ())
    with pytest.raises(ValueError, match="own name and tag"):
        Registry([first, other])


def test_a_new_method_is_one_row() -> None:
    """The seam for codecs to come: a registry with one more row reads and writes it."""
    mine = Registry([*REGISTRY.methods, sparse_method("mine", 0x7F, SignValues(), ("mine:0.1",))])
    body = mine.codec("mine:0.1").encode(np.arange(50.0), seed=0)
    assert body[0] == 0x7F
    assert mine.open_body(body, 50).spec == "mine"
    with pytest.raises(UnknownCodec):
        codec("mine:0.1")


def test_a_codec_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        partial(Codec)()


@pytest.mark.parametrize("d", [-1, 2**28 + 1])
def test_sizes_beyond_the_limit(d: int) -> None:
    with pytest.raises(InputError, match="expected 0 <= d"):
        REGISTRY.open_body(b"\1", d)
