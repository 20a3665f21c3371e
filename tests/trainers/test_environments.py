"""Runs the contract, and what is each framework's own, where torch and both TFLite runtimes are installed."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest

from benchmarks.trainers import WHO, measure, summary
from tests.environments import ROOT, python_of, run_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(2400)]  # the first run installs gigabytes

HERE = ROOT / "tests" / "trainers"
POINT = 0.01
OWN = {"torch": "torch", "tflite": "tflite", "tflite-legacy": "tflite"}


@pytest.mark.parametrize("name", list(OWN))
def test_the_trainers_of(name: str) -> None:
    files = [HERE / "test_contract.py", *(HERE / "inside" / f"check_{each}.py" for each in (OWN[name], "failures"))]
    options = ["-q", "-c", HERE / "inside" / "pytest.ini", "--rootdir", ROOT, "-p", "no:cacheprovider"]
    done = run_in(name, "-m", "pytest", *options, *files, timeout=900, GOSSAMER_TRAINERS=name)
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted is not None
    assert int(counted[1]) >= 60, done.stdout
    assert "skipped" not in done.stdout


def test_one_federation_is_as_good_whatever_trains_it() -> None:
    """20 rounds of the demo's digits, three seeds; the benchmark runs them to their end."""
    records = measure("digits", "0,1,2", rounds=20)
    assert len(records) == len(WHO) * 3
    rows = summary(records)
    assert [row["trainer"] for row in rows] == ["numpy", "torch", "tflite", "tflite-legacy"]
    for row in rows:
        assert abs(row["gap"]) <= POINT, row
        assert row["accuracy"] > 0.85, row
        assert row["same_first_model"] == 3, row


def test_the_old_runtime_with_numpy_2_is_told_apart() -> None:
    packages = next((python_of("tflite").parents[1] / "lib").glob("python*/site-packages"))
    code = (
        "from gossamer.trainers.tflite import TFLiteTrainer\n"
        "import numpy as np\n"
        "try: TFLiteTrainer('tests/data/line.tflite', np.zeros((1, 3)), np.zeros((1, 1)))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with tempfile.TemporaryDirectory() as directory:
        for name in ("numpy", "numpy.libs"):
            (Path(directory) / name).symlink_to(packages / name)
        done = run_in("tflite-legacy", "-c", code, PYTHONPATH=f"{directory}:{ROOT}")
    assert re.match(r"ConfigError tflite-runtime is for numpy 1 and fails with numpy 2\..* pip install", done.stdout)


def test_without_a_framework_it_is_said_which_extra_brings_it() -> None:
    code = "import gossamer.trainers.torch"
    done = run_in("tflite", "-c", code, check=False)
    assert "ConfigError: TorchTrainer needs torch: pip install 'gossamer[torch]'" in done.stderr
    code = "from gossamer.trainers.tflite import TFLiteTrainer; TFLiteTrainer('tests/data/line.tflite', [], [])"
    done = run_in("torch", "-c", code, check=False)
    assert "TFLiteTrainer needs a runtime: pip install 'gossamer[tflite]'" in done.stderr


def test_the_files_of_the_tests_are_what_their_script_makes(tmp_path: Path) -> None:
    run_in("tflite-make", "-m", "tests.data.make_models", tmp_path)
    made, recorded = (json.loads((each / "digests.json").read_text()) for each in (tmp_path, ROOT / "tests" / "data"))
    for digests in (made, recorded):
        assert digests.pop("flex.tflite")  # two conversions of that one differ
    assert made == recorded


def test_the_maker_says_what_is_wrong(tmp_path: Path) -> None:
    target = tmp_path / "model.tflite"
    wrong = {
        ("8", "dense"): "layer 'dense': expected one of dense:UNITS",
        ("8x", "dense:2"): "--input '8x': expected the shape",
        ("8", "conv:2:3,dense:2"): "--input 8 does not go with --layers conv:2:3,dense:2",
        ("8x2", "conv:2:9,dense:2"): "layer 0: Conv(channels=2, taps=9, stride=1) leaves nothing of an input",
        ("8x2", "conv:2:3"): "the last layer gives the shape (6, 2)",
    }
    calls = [[str(target), "--input", shape, "--layers", layers] for shape, layers in wrong]
    code = f"from gossamer.trainers.make_tflite import main\nprint([main(each) for each in {calls!r}])"
    done = run_in("tflite-make", "-c", code)
    assert done.stdout.strip() == str([1] * len(wrong))
    assert [text for text in wrong.values() if text not in done.stderr] == []
    arguments = ("-m", "gossamer.trainers.make_tflite", target, "--input", "8", "--layers", "dense:2")
    done = run_in("torch", *arguments, check=False)
    assert done.returncode == 2
    assert "pip install 'gossamer[tflite-make]'" in done.stderr
    assert not target.exists()
