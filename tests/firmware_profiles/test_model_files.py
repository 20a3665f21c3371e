"""Layouts out of whatever says them."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gossamer.compression.layout import Layout
from gossamer.errors import ConfigError
from gossamer.firmware_profiles.model_files import described, layout_of
from tests.lab.namespaces import REPOSITORY

DATA = Path(__file__).parent / "data"
TFLITE = REPOSITORY / "tests" / "data"
SHAPES = (("kernel", (4, 3)), ("bias", (3,)))


def test_a_line_of_shapes():
    layout = layout_of("784x128@28x28, 128, 128x10, 10")
    assert layout.size == 101_770
    assert layout.axes == (("0", (28, 28)),)
    assert described(layout) == "784x128@28x28,128,128x10,10"
    assert layout_of("600x8@100x-6").axes == (("0", (100, -6)),)


def test_layout_files(tmp_path: Path):
    whole = Layout(SHAPES, (("kernel", (2, 2)),))
    (tmp_path / "a.json").write_text(json.dumps(whole.to_lists()))
    (tmp_path / "a.toml").write_text("[arrays]\nkernel = [4, 3]\nbias = [3]\n[axes]\nkernel = [2, 2]\n")
    assert layout_of(str(tmp_path / "a.json")) == layout_of(str(tmp_path / "a.toml")) == whole


@pytest.mark.parametrize("compressed", [False, True])
def test_numpy(tmp_path: Path, compressed: bool):
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", kernel=np.zeros((4, 3), np.float32), bias=np.zeros(3), steps=np.zeros(9, np.int64))
    assert layout_of(str(tmp_path / "a.npz")).entries == SHAPES


@pytest.mark.parametrize("form", ["digits.tflite", "digits-get-set.tflite"])
def test_tflite_without_a_runtime(form: str):
    entries = layout_of(str(TFLITE / form)).entries
    assert entries == (
        ("layer0_bias", (32,)), ("layer0_weight", (64, 32)), ("layer1_bias", (10,)), ("layer1_weight", (32, 10)),
    )  # fmt: skip


def test_a_damaged_tflite_is_refused_wherever_it_is_cut(tmp_path: Path):
    whole = (TFLITE / "line.tflite").read_bytes()
    path = tmp_path / "a.tflite"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        try:
            layout_of(str(path))
        except ConfigError:
            continue
        assert length > len(whole) // 2, "half a file has no shapes"
    rng = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(8, len(whole), 20):
            damaged[at] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            layout_of(str(path))
        except ConfigError:
            continue


@pytest.mark.parametrize("name", ["a.npz", "a.pt"])
def test_an_archive_with_wrong_bytes_has_shapes_or_is_refused(tmp_path: Path, name: str):
    np.savez_compressed(tmp_path / "whole.npz", kernel=np.zeros((4, 3), np.float32), bias=np.zeros(3))
    whole = (DATA / "small.pt" if name == "a.pt" else tmp_path / "whole.npz").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(800):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=4):
            damaged[at] = rng.integers(256)
        (tmp_path / name).write_bytes(bytes(damaged))
        try:
            layout_of(str(tmp_path / name))
        except ConfigError:
            refused += 1
    assert 0 < refused < 800


def test_a_side_longer_than_any_number_is_none():
    for text in ("9" * 5_000, "\u0663x5"):
        with pytest.raises(ConfigError, match="expected shapes as"):
            layout_of(text)


def test_torch_without_torch():
    entries = layout_of(str(DATA / "small.pt")).entries
    assert entries == (
        ("conv.weight", (2, 3, 4)), ("conv.bias", (4,)), ("norm.weight", (4,)), ("norm.bias", (4,)),
        ("out.weight", (4, 3)), ("out.bias", (3,)),
    )  # fmt: skip


def test_a_program_in_a_torch_file_is_not_run(tmp_path: Path):
    victim = tmp_path / "made"
    name = str(victim).encode()
    program = b"\x80\x02cposix\nmkdir\nX" + struct.pack("<I", len(name)) + name + b"\x85R."
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", program)
    with pytest.raises(ConfigError, match="expected a plain state_dict"):
        layout_of(str(path))
    assert not victim.exists()
    import pickle

    pickle.loads(program)  # the program was a real one
    assert victim.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npz", None, "no such file"),
        ("a.npz", b"x", "expected a .npz file"),
        ("a.pt", b"x", "a zip"),
        ("a.tflite", b"x", "expected a .tflite file"),
        ("a.json", b"{", 'expected \\[\\["kernel"'),
        ("a.toml", b"[arrays]\nk = 'x'\n", "k: expected a list of whole numbers"),
        ("a.toml", b"[other]\nk = 1\n", "expected a table \\[arrays\\]"),
        ("a.toml", b"\xff", "a.toml cannot be read, the file is damaged"),
        ("a.toml", b"a = " + b"[" * 9_000, "nested too deep"),
        ("a.json", b"[" * 90_000, "the file is damaged"),
        ("a.onnx", b"x", "expected shapes as 784x128"),
        ("a.toml", b"[arrays]\nk = [0]\n", "found none"),
    ],
)
def test_what_says_nothing(tmp_path: Path, name: str, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        layout_of(str(tmp_path / name))


def test_an_impossible_grid():
    with pytest.raises(ConfigError, match="expected axes"):
        layout_of("784x128@28x27")
