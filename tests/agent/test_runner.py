"""The training child: what it answers, and what becomes of everything a trainer can do wrong."""

from __future__ import annotations

import gc
import hashlib
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.agent.frames import MAX_FRAME_BYTES, frame, pack_arrays, take_frame, unpack_arrays
from gossamer.agent.runner import ChildSettings, TrainerProcess, run
from gossamer.compression import decode, lattice
from gossamer.compression.layout import Layout
from gossamer.errors import ConfigError, IncompleteMessage, MalformedMessage, TrainerFailed

from .tiny import Tiny

ROOT = Path(__file__).parents[2]


def child(mode: str = "good", **more: Any) -> ChildSettings:
    options = {"mode": mode, **more.pop("options", {})}
    return ChildSettings("tests.agent.tiny:make", options, path=(ROOT,), timeout_seconds=20, **more)


def fit_fields(**changes: Any) -> dict[str, Any]:
    weights = Tiny().initial(11)
    vector = lattice.to_lattice(Layout.of(weights).flatten(weights))
    return {
        "model": None, "object": None, "expect": {"version": 0, "digest": lattice.digest(vector)},
        "fit": {"local_epochs": 1, "batch_size": 8, "learning_rate": 0.1, "seed": 5, "round": 2},
        "job_seed": 11, "cycle": 0, "codebooks": None, "memory": "ef14", "link": None, "epochs": None,
        "method": "fedavg", "sections": [], "device_index": 0, "participation": [0, 0, 3, 1], "secret": bytes(32),
        "devices": 3, "cohorts": 1, "codec": "sign", "codec_seed": 3, "residual": None,
        **changes,
    }  # fmt: skip


def test_a_fit_gives_the_model_and_the_update_and_the_same_again() -> None:
    model, update = run(child(), "fit", fit_fields())
    assert [model["type"], update["type"]] == ["model", "update"]
    assert hashlib.sha256(model["lattice"]).digest()[:16] == fit_fields()["expect"]["digest"]
    assert (update["examples"], update["loss"]) == (5, 0.5)
    d = len(model["lattice"]) // 4
    sent = lattice.to_lattice(decode(update["body"], d))
    kept = np.frombuffer(update["if_counted"], "<i4")
    assert (sent + kept == np.frombuffer(update["if_dropped"], "<i4")).all()
    known = {"lattice": model["lattice"], "layout": model["layout"]}
    (again,) = run(child(), "fit", fit_fields(model=known))
    assert again == update


def test_the_residual_is_added() -> None:
    (_, first) = run(child(), "fit", fit_fields())
    (_, second) = run(child(), "fit", fit_fields(residual=first["if_dropped"]))
    twice = 2 * np.frombuffer(first["if_dropped"], "<i4")
    assert (np.frombuffer(second["if_dropped"], "<i4") == twice).all()


def test_an_unbiased_codec_leaves_the_residual_alone() -> None:
    (_, update) = run(child(), "fit", fit_fields(codec="q4s"))
    assert update["if_counted"] is None
    assert update["if_dropped"] is None


def test_initial_and_evaluate() -> None:
    (answer,) = run(child(), "initial", {"seed": 11})
    weights = unpack_arrays(answer["weights"])
    assert all((a == b).all() for a, b in zip(weights, Tiny().initial(11), strict=True))
    model, _ = run(child(), "fit", fit_fields())
    (answer,) = run(child(), "evaluate", {"model": model})
    assert set(answer["figures"]) == {"accuracy", "examples"}


def test_a_wrong_digest_is_told() -> None:
    (answer,) = run(child(), "fit", fit_fields(expect={"version": 0, "digest": bytes(16)}))
    assert answer["type"] == "bad-model"


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("data", [b"", b"\xff" * 40, bytes(300)])
def test_a_malformed_object_is_told(kind: int, data: bytes) -> None:
    (answer,) = run(child(), "fit", fit_fields(object={"kind": kind, "data": data}))
    assert answer["type"] == "bad-model"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("shape", r"expected weights of the shapes .* got \[\(20, 2\)\]: return them in the order"),
        ("nan", "NaN or infinity"),
        ("tuple", "expected a gossamer.agent.trainer.FitResult.* got tuple"),
        ("loss", "expected a finite loss, got inf"),
        ("examples", "at least 1, got 0"),
        ("raise", r"KeyError: 'no such column' \(.*tiny.py:\d+\)"),
        ("exit", "ended with exit code 3: segmentation almost"),
        ("oom", r"ended by SIGKILL \(out of memory\?\)"),
        ("huge", "cannot be encoded"),
    ],
)
def test_what_a_trainer_can_do_wrong(mode: str, text: str) -> None:
    with pytest.raises(TrainerFailed, match=text):
        run(child(mode), "fit", fit_fields())


def test_an_unknown_codec_asks_for_a_newer_agent() -> None:
    with pytest.raises(TrainerFailed, match="newer agent"):
        run(child(), "fit", fit_fields(codec="nothing:7"))


def test_prints_do_not_disturb() -> None:
    assert [each["type"] for each in run(child("chatty"), "fit", fit_fields())] == ["model", "update"]


def test_limits() -> None:
    with pytest.raises(TrainerFailed, match=r"out of memory|MemoryError"):
        run(child("memory", memory_bytes=2 << 30), "fit", fit_fields())
    slow = ChildSettings("tests.agent.tiny:make", {"pause": 30.0}, path=(ROOT,), timeout_seconds=0.5)
    with pytest.raises(TrainerFailed, match=r"longer than fit_timeout_seconds = 0\.5"):
        run(slow, "fit", fit_fields())


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("no.such.module:make", ConfigError, "no module named no.*trainer_path"),
        ("tests.agent.tiny:absent", ConfigError, "has no 'absent'"),
        ("tests.agent.tiny:nothing", TrainerFailed, "returned int without a method 'initial'"),
    ],
)
def test_a_factory_that_is_none(spec: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        run(ChildSettings(spec, {}, path=(ROOT,)), "fit", fit_fields())


def test_a_module_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from tests.agent.tiny import make\n")
    settings = ChildSettings("mine:make", {}, path=(tmp_path, ROOT))
    assert run(settings, "initial", {"seed": 1})[0]["type"] == "initial"


def test_it_dies_with_its_parent() -> None:
    code = (
        "import time\n"
        "from tests.agent.test_runner import *\n"
        "p = TrainerProcess(ChildSettings('tests.agent.tiny:make', {'pause': 60.0}, path=(ROOT,)), 'fit',"
        " fit_fields(), 0.0)\n"
        "print(p.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    raise AssertionError("the child outlived its parent")


def test_a_killed_child_leaves_nothing() -> None:
    gc.collect()  # stores that earlier tests left open must not close in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    process = TrainerProcess(child(options={"pause": 60.0}), "fit", fit_fields(), 0.0)
    process.kill()
    process.kill()
    assert not Path(f"/proc/{process.pid}").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def gone(pid: int) -> bool:
    """Whether a process ends within five seconds; one that only waits to be reaped has."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_workers_of_the_users_code_end_with_the_child() -> None:
    process = TrainerProcess(child("worker"), "fit", fit_fields(), 0.0)
    found = None
    with selectors.DefaultSelector() as selector:
        for descriptor in process.descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while found is None:
            for key, _ in selector.select(10):
                process.on_readable(key.fd)
            found = re.search(r"worker (\d+)$", process.complaint)
    worker = int(found[1])
    assert Path(f"/proc/{worker}").exists()
    process.kill()
    process.kill()
    assert gone(worker)


def test_workers_of_a_child_that_fell_end_too() -> None:
    with pytest.raises(TrainerFailed, match="ended with exit code 3") as caught:
        run(child("worker-exit"), "fit", fit_fields())
    found = re.search(r"worker (\d+)", str(caught.value))
    assert found is not None
    assert gone(int(found[1]))


def test_frames_every_prefix_is_incomplete() -> None:
    data = frame({"type": "x", "data": b"12"})
    for length in range(len(data)):
        with pytest.raises(IncompleteMessage):
            take_frame(bytearray(data[:length]))
    buffer = bytearray(data + b"rest")
    assert take_frame(buffer) == {"type": "x", "data": b"12"}
    assert buffer == b"rest"
    with pytest.raises(MalformedMessage):
        take_frame(bytearray((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))
    with pytest.raises(MalformedMessage):
        take_frame(bytearray(b"\0\0\0\1\xff"))


def test_arrays_are_checked() -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.float32([1])[0:1]]
    assert all((a == b).all() for a, b in zip(unpack_arrays(pack_arrays(arrays)), arrays, strict=True))
    for wrong in (3, [["f4", [3], b"1"]], [["O8", [1], bytes(8)]], [["f4", [-1], b""]], [["f4"]]):
        with pytest.raises(MalformedMessage):
            unpack_arrays(wrong)
