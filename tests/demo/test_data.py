"""How the demo's data is dealt: nothing leaks, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.demo import data
from gossamer.demo.data import PEOPLE, STRIDE, WINDOW, load, pooled_held_out, watch_parts, windows
from gossamer.demo.watch_file import Recording
from gossamer.errors import ConfigError


@pytest.fixture(scope="module")
def watch():
    return load("watch", 10, 0)


def ramps(length=1000):
    """Recordings whose first axis tells person and time: person * 10000 + sample."""
    rng = np.random.default_rng(3)
    made = []
    for person in range(PEOPLE):
        for exercise in range(7):
            samples = rng.random((length, 6))
            samples[:, 0] = np.arange(length)
            made.append(Recording(samples, person, exercise))
    return made


def times(x):
    """Sample numbers of windows of standardised ramps, from their first axis, up to shift and scale."""
    return x[:, :, 0]


def test_ten_people_ten_devices(watch):
    assert len(watch) == 10
    for part in watch:
        assert part.x.shape[1:] == (WINDOW, 6)
        assert part.x.dtype == part.x_held_out.dtype == np.float32
        assert len(part.x) == len(part.y) >= 7 * 20
        assert len(part.x_held_out) == len(part.y_held_out)
        assert set(part.y) == set(part.y_held_out) == set(range(7))
    x, y = pooled_held_out("watch", watch)
    assert len(x) == len(y) == sum(len(part.y_held_out) for part in watch) == 1255


def test_a_device_standardises_by_its_own_training_samples(watch):
    for part in watch:
        np.testing.assert_allclose(part.x.mean(axis=(0, 1)), 0, atol=0.1)
        np.testing.assert_allclose(part.x.std(axis=(0, 1)), 1, atol=0.1)


def test_no_sample_is_in_both_training_and_held_out_windows():
    part = watch_parts(ramps(), 10)[4]
    assert times(part.x).max() < times(part.x_held_out).min()


def test_shares_of_one_person_do_not_overlap_and_judge_on_the_same_windows():
    shares = watch_parts(ramps(3000), 20)
    first, second = shares[4], shares[14]
    assert len(first.y_held_out) == len(second.y_held_out)
    whole = watch_parts(ramps(3000), 10)[4]
    assert 0.9 * len(whole.y) <= len(first.y) + len(second.y) <= len(whole.y)
    # Undo the standardisation of axis 0: a window's slope is 1 sample, so time = value / slope + shift.
    starts = []
    for part in (first, second):
        slope = part.x[0, 1, 0] - part.x[0, 0, 0]
        starts.append(np.round((part.x[:, 0, 0] - part.x[:, 0, 0].min()) / slope))
    assert max(starts[0]) + WINDOW <= 3000 * data.TRAIN_SHARE / 2 + STRIDE
    assert max(starts[1]) + WINDOW <= 3000 * data.TRAIN_SHARE / 2 + STRIDE


def test_fewer_devices_are_the_first_people(watch):
    few = load("watch", 3, 5)
    for part, same in zip(few, watch, strict=False):
        np.testing.assert_array_equal(part.x, same.x)


def test_a_person_with_several_devices_is_judged_once(watch):
    x, _ = pooled_held_out("watch", load("watch", 13, 0))
    assert len(x) == 1255


def test_windows_are_whole():
    x = np.arange(250, dtype=np.float32)[:, None]
    cut = windows(x)
    assert cut[:, 0, 0].tolist() == [0, 50, 100, 150]
    assert cut[-1, -1, 0] == 249
    assert len(windows(x[:99])) == 0


def test_digits_are_dealt_once_each_and_unevenly():
    parts = load("digits", 10, 0)
    assert sum(len(part.y) for part in parts) + len(parts[0].y_held_out) == 1797
    rows = np.concatenate([np.column_stack([part.x, part.y]) for part in parts])
    assert len(np.unique(rows, axis=0)) == len(rows)
    most = [np.bincount(part.y).max() / len(part.y) for part in parts]
    assert np.mean(most) > 0.25
    x, y = pooled_held_out("digits", parts)
    assert len(x) == len(y) == 359
    assert 0 <= x.min() <= x.max() <= 1


def test_the_seed_deals_digits_anew_and_repeatably():
    one, again, other = load("digits", 5, 1), load("digits", 5, 1), load("digits", 5, 2)
    np.testing.assert_array_equal(one[2].x, again[2].x)
    assert [len(part.y) for part in one] != [len(part.y) for part in other]


def test_every_device_has_digits():
    assert all(len(part.y) for part in load("digits", 200, 0))


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [("faces", 10, "'watch' or 'digits'"), ("watch", 0, "at least 1"), ("digits", 2000, "too few"),
     ("watch", 400, "use fewer")],
)  # fmt: skip
def test_what_cannot_be_dealt_is_refused(name, devices, message):
    with pytest.raises(ConfigError, match=message):
        load(name, devices, 0)


def test_a_missing_library_says_what_to_install():
    with pytest.raises(ConfigError, match=r"gossamer\[demo\]"):
        data.package_file("no_such_package_here", "x")
