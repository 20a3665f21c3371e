"""The one pickle the project opens, and what it refuses."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from gossamer.demo.data import package_file
from gossamer.demo.watch_file import ArrayUnpickler, read_recordings
from gossamer.errors import ConfigError


class Evil:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def object_file(tmp_path, content) -> str:
    path = tmp_path / "watch.npy"
    wrapped = np.empty((), dtype=object)
    wrapped[()] = content
    np.save(path, wrapped, allow_pickle=True)
    return path


def small_set():
    return {"X": [np.arange(12.0).reshape(2, 6)] * 2, "subject": np.array([1, 10]), "y": np.array([0, 6])}


def test_the_data_set_is_140_recordings_of_10_people_and_7_exercises():
    recordings = read_recordings(package_file("seglearn", "data/watch_dataset.npy"))
    assert len(recordings) == 140
    assert {r.person for r in recordings} == set(range(10))
    assert {r.exercise for r in recordings} == set(range(7))
    assert sum(len(r.samples) for r in recordings) == 244_102
    assert all(r.samples.shape[1] == 6 and r.samples.dtype == np.float64 for r in recordings)


def test_it_reads_what_numpy_writes_today(tmp_path):
    recordings = read_recordings(object_file(tmp_path, small_set()))
    assert [(r.person, r.exercise) for r in recordings] == [(0, 0), (9, 6)]
    np.testing.assert_array_equal(recordings[0].samples, np.arange(12.0).reshape(2, 6))


@pytest.mark.parametrize("where", ["X", "subject", "extra"])
def test_nothing_in_the_file_can_act(tmp_path, where):
    path = object_file(tmp_path, small_set() | {where: Evil(tmp_path / "witness")})
    with pytest.raises(ConfigError, match=r"refused to look up posix\.system"):
        read_recordings(path)
    assert not (tmp_path / "witness").exists()
    np.load(path, allow_pickle=True)  # the file does act where it may
    assert (tmp_path / "witness").exists()


@pytest.mark.parametrize("name", [("builtins", "eval"), ("numpy", "fromfile"), ("numpy", "memmap"), ("os", "open")])
def test_only_the_names_that_rebuild_arrays_are_known(tmp_path, name):
    with (tmp_path / "empty").open("wb+") as file, pytest.raises(pickle.UnpicklingError, match="refused"):
        ArrayUnpickler(file).find_class(*name)


@pytest.mark.parametrize("cut", [0, 5, 40, 100, 300])
def test_a_truncated_file_says_what_to_do(tmp_path, cut):
    path = object_file(tmp_path, small_set())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConfigError, match="reinstall seglearn"):
        read_recordings(path)


@pytest.mark.parametrize("content", [{}, {"X": [], "subject": 3, "y": []}, 7])
def test_another_content_says_what_to_do(tmp_path, content):
    with pytest.raises(ConfigError, match="reinstall seglearn"):
        read_recordings(object_file(tmp_path, content))


def test_a_missing_or_huge_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="reinstall seglearn"):
        read_recordings(tmp_path / "none.npy")
    with (tmp_path / "huge.npy").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigError, match="larger"):
        read_recordings(tmp_path / "huge.npy")
