"""The agent on emulated aarch64 and armhf, the broker and the server on the host: rounds whose model is x86-64's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gossamer.agent.store import AgentStore, read_ledger
from gossamer.aggregator.jobs import FitSettings
from tests.brokers import mosquitto
from tests.lab import exact_model, small_fleet
from tests.lab.arm_root import ROOTS, ArmUnavailable, arm_python, arm_root

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

DEVICE = "pump-17"
#: Starting Python and numpy takes seconds under emulation, on a busy machine tens of them.
SECONDS = 400.0
PATIENCE = {"status_timeout_seconds": 20.0, "manifest_wait_seconds": 10.0, "backoff_limit_seconds": 5.0}


def run(directory: Path, python: Path) -> tuple[str, str, list[tuple[int, str, int | None]]]:
    """Two rounds of one device: the server's model, the device's, and what was counted."""
    fit = FitSettings(local_epochs=1, batch_size=exact_model.BATCH, learning_rate=exact_model.LEARNING_RATE)
    with mosquitto(directory / "broker") as broker:
        fleet = small_fleet.make(
            directory, broker, names=(DEVICE,), trainer="tests.lab.exact_model:make", options={}, agent=PATIENCE,
            rounds=2, fit=fit, codec_up="q8", codec_down="q8",
        )  # fmt: skip
        try:
            fleet.serve()
            fleet.agent(DEVICE, [str(python)])
            fleet.wait(fleet.finished, SECONDS)
            state = directory / f"agent-{DEVICE}"
            fleet.wait(lambda: "down_manifest_bytes" in read_ledger(state).counters, SECONDS)
        finally:
            fleet.stop()
    store = AgentStore(state, "t", DEVICE)
    try:
        model = store.model()
        assert model is not None
        return fleet.digest(), f"{model.version} {model.digest.hex()}", fleet.counted()
    finally:
        store.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[tuple[int, str, int | None]]]:
    """The same on this machine."""
    return run(tmp_path_factory.mktemp("x86"), Path(sys.executable))


@pytest.mark.parametrize("name", ROOTS)
def test_rounds_whose_model_is_the_same_as_here(
    tmp_path: Path, name: str, here: tuple[str, str, list[tuple[int, str, int | None]]]
) -> None:
    try:
        root = arm_root(name)
    except ArmUnavailable as error:
        pytest.fail(str(error))
    assert here[2] == [(0, DEVICE, 1), (1, DEVICE, 2)]
    assert run(tmp_path, arm_python(root, name, tmp_path / f"python-{name}")) == here
