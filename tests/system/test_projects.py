"""``gossamer init`` and ``gossamer train`` as somebody uses them, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.project.local_fleet import alone, processes
from gossamer.project.making import Asked, make_project
from gossamer.project.settings import read_project
from tests.environments import run_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CLI = [sys.executable, "-m", "gossamer.cli"]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ROUNDS = 3


def start(directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*CLI, *words], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def gossamer(directory: Path, *words: str, code: int = 0) -> tuple[str, str]:
    process = start(directory, *words)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, f"{words}: {err}\n{out}"
    return out, err


def train(directory: Path, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(gossamer(directory, "train", "--json", *words)[0])
    return told


def await_round(directory: Path, number: int) -> None:
    """Until so many rounds of the first job are sealed."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        if (directory / "fleet" / "server.toml").exists():
            process = start(directory, "job", "list", "--state", "fleet", "--json")
            rows = json.loads(process.communicate()[0] or "[]")
            if rows and rows[0]["model_version"] >= number:
                return
        time.sleep(0.2)
    raise AssertionError("no round was sealed in time")


def no_process_of(directory: Path) -> None:
    """Whatever happened, nothing of this project still runs a few seconds later."""
    end = time.monotonic() + 10
    while True:
        left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(directory) in _read(p)]
        if not left:
            return
        assert time.monotonic() < end, [_read(p) for p in left]
        time.sleep(0.1)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def test_a_project_trains_is_killed_and_goes_on_to_the_same_model(tmp_path: Path) -> None:
    out, err = gossamer(tmp_path, "init", "pumps", "--devices", "3")
    assert "trainer.py" in out
    assert "next: cd pumps && gossamer train" in err
    project = tmp_path / "pumps"
    planned = json.loads(gossamer(project, "train", "--dry-run", "--json")[0])
    assert (planned["job"], planned["parameters"], planned["created"]) == ("pumps", 916, False)
    assert not (project / "fleet").exists()

    # One run, killed in its middle with everything it had started, and a second that ends it.
    process = start(project, "train", "--rounds", str(ROUNDS), "--cohorts", "1", "--local-epochs", "5")
    await_round(project, 1)
    with pytest.raises(Exception, match="another `gossamer train` runs"), alone(read_project(project)):
        pass
    process.kill()
    process.communicate()
    no_process_of(project)
    gossamer(project, "train", "--rounds", str(ROUNDS + 1), code=2)
    ended = train(project)
    assert (ended["resumed"], ended["rounds"], ended["updates"]) == (True, ROUNDS, 3 * ROUNDS)
    assert ended["accuracy"] > 0.6
    assert ended["loss_last_round"] < ended["loss_first_round"]
    assert 0 < ended["payload_bytes_up"] < ended["ip_bytes"]
    with np.load(project / "model.npz", allow_pickle=False) as model:
        assert [model[name].shape for name in model.files] == [(33, 24), (24,), (24, 4), (4,)]
    assert (project / "model.card.md").exists()
    no_process_of(project)

    # The same again without the kill, as a new job over the same fleet: the same model, to the bit.
    again = train(project, "--rounds", str(ROUNDS), "--cohorts", "1", "--local-epochs", "5")
    assert (again["job"], again["resumed"]) == ("pumps-2", False)
    assert again["model_digest"] == ended["model_digest"]

    # A fleet that runs already: only the job is made, and followed; Ctrl-C leaves it.
    fleet = [subprocess.Popen([sys.executable, "-m", *arguments], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
             for arguments in running(project)]  # fmt: skip
    try:
        elsewhere = train(project, "--state", "fleet", "--rounds", "2", "--output", "other.npz")
        assert (elsewhere["job"], elsewhere["rounds"], elsewhere["ip_bytes"]) == ("pumps-3", 2, None)
        watching = start(project, "train", "--state", "fleet", "--rounds", "1000")
        assert watching.stderr is not None
        assert "Job pumps-4 begins" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=60)
        assert (watching.returncode, "the job goes on" in said) == (130, True), said
        jobs = json.loads(gossamer(project, "job", "list", "--state", "fleet", "--json")[0])
        assert [row["state"] for row in jobs] == ["finished"] * 3 + ["open"]
        assert all(process.poll() is None for process in fleet)
    finally:
        for process in fleet:
            process.terminate()
        for process in fleet:
            process.wait(20)


def running(project: Path) -> list[list[str]]:
    """What runs a project's fleet, at the broker port of its last run."""
    port = re.search(r"^port = (\d+)$", (project / "fleet" / "server.toml").read_text(), re.MULTILINE)
    assert port is not None
    return list(processes(read_project(project), int(port.group(1)), 0).values())


def test_a_trainer_that_fails_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    gossamer(tmp_path, "init", "pumps", "--devices", "2")
    project = tmp_path / "pumps"
    trainer = project / "trainer.py"
    broken = trainer.read_text().replace(
        "        hidden = ", '        raise KeyError("no such column")\n        hidden = '
    )
    trainer.write_text(broken)
    _, err = gossamer(project, "train", "--rounds", "2", "--cohorts", "1", code=1)
    assert "KeyError: 'no such column'" in err.splitlines()[-1]
    assert "Traceback" not in err
    no_process_of(project)
    trainer.write_text(broken.replace('        raise KeyError("no such column")\n', ""))
    ended = train(project)  # mended, it goes on with the round that was lost
    assert (ended["resumed"], ended["updates"]) == (True, 4)


@pytest.mark.parametrize(
    ("environment", "kind"), [("torch", "torch"), ("tflite", "tflite"), ("tflite-legacy", "tflite")]
)
def test_the_other_projects_learn(tmp_path: Path, environment: str, kind: str) -> None:
    """Where their runtime is. What `gossamer train` does with a factory was seen above."""
    make_project(tmp_path, Asked("pumps", kind))
    code = """
import json, sys
from gossamer.agent import work
from gossamer.agent.trainer import FitConfig
own = work.make_trainer("trainer.py:trainer", {"device": 1}, ["pumps"], [])
first = own.initial(3)
result = own.fit(first, FitConfig(10, 16, 0.1, 5, 0))
before, after = own.evaluate(first), own.evaluate(result.weights)
print(json.dumps([before["accuracy"], after["accuracy"], sorted({"torch", "sqlalchemy", "rich"} & set(sys.modules))]))
"""
    told = run_in(environment, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{code}")
    before, after, loaded = json.loads(told.stdout.splitlines()[-1])
    assert after > before + 0.2
    assert loaded == (["torch"] if kind == "torch" else [])
