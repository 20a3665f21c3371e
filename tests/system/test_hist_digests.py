"""``hist`` is the same to the bit on every BLAS kernel, with one thread or two, on x86 and on (emulated) aarch64."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compression.test_basis import GOLDEN
from tests.lab.arm_root import ArmUnavailable, arm_command, arm_root
from tests.lab.namespaces import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

SCRIPT = "tests/lab/hist_digests.py"
KERNELS = ["Prescott", "Nehalem", "Haswell", "SkylakeX"]
ARM_KERNELS = ["ARMV8", "NEOVERSEN1"]


def digests(command: list[str], **environment: str) -> dict[str, str]:
    """What the script prints when run by ``command``."""
    settings = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    done = subprocess.run(command, env=settings, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(line.split() for line in done.stdout.splitlines())


def cpu_flags() -> set[str]:
    """What the processor can, as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_of_x86(kernel: str, threads: str) -> None:
    assert platform.machine() == "x86_64", "this machine has other kernels: name them here"
    needs = {"Haswell": {"avx2", "fma"}, "SkylakeX": {"avx512f", "avx512dq", "avx512bw", "avx512vl"}}.get(kernel, set())
    # A kernel that the processor cannot run ends in SIGILL: there is nothing to test on such a machine.
    chosen = kernel if needs <= cpu_flags() else KERNELS[0]
    assert digests([sys.executable, SCRIPT], OPENBLAS_CORETYPE=chosen, OPENBLAS_NUM_THREADS=threads) == GOLDEN


@pytest.fixture(scope="module")
def root() -> Path:
    try:
        return arm_root()
    except ArmUnavailable as missing:
        pytest.fail(str(missing))


@pytest.mark.parametrize("kernel", ARM_KERNELS)
def test_kernels_of_aarch64(root: Path, kernel: str) -> None:
    run = arm_command(root, [SCRIPT], OPENBLAS_CORETYPE=kernel, OPENBLAS_NUM_THREADS="1")
    assert digests(run) == GOLDEN


def test_the_emulated_machine_is_another(root: Path) -> None:
    run = arm_command(root, ["-c", "import platform; print('machine', platform.machine())"])
    assert digests(run) == {"machine": "aarch64"}
