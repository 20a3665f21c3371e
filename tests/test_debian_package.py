"""What the package holds is enough for what it runs: the agent and the doctor, without the rest of Gossamer."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: The only ones that name what is not shipped: they run where a server is.
OF_THE_SERVER = {"api/server.py", "doctor/server.py"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that becomes /usr/lib/gossamer."""
    specification = importlib.util.spec_from_file_location("build", ROOT / "deploy" / "deb" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    builder = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(builder)
    tree = tmp_path_factory.mktemp("package")
    builder.fill(tree, builder.version_of("1"), 0)
    return tree / builder.LIBRARY


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_what_is_imported_is_there(library: Path) -> None:
    lacking = {}
    for file in library.rglob("gossamer/**/*.py"):
        ours = [name for name in imported(file) if name.split(".")[0] == "gossamer"]
        paths = [library / name.replace(".", "/") for name in ours]
        missing = [path for path in paths if not path.with_suffix(".py").exists() and not path.is_dir()]
        if missing:
            lacking[str(file.relative_to(library / "gossamer"))] = sorted({path.name for path in missing})
    unexpected = {file: names for file, names in lacking.items() if file not in OF_THE_SERVER}
    assert not unexpected, f"add to PARTS in deploy/deb/build.py, or import it on the server only: {unexpected}"


def run(library: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(library)}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True, text=True, env=environment, cwd=library, timeout=60, check=False,
    )  # fmt: skip


def test_the_agent_and_the_doctor_run_from_it(library: Path, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        'fleet = "farm1"\ndevice_id = "pump-17"\ndevice_index = 0\nstate_dir = "state"\ntrainer = "absent:make"\n'
        f'fleet_public_key = "{"9f" * 32}"\ndevice_key = "{"11" * 32}"\n[broker]\nport = 1\n'
    )
    config = str(tmp_path / "agent.toml")
    assert run(library, "gossamer.agent", "--help").returncode == 0
    examined = run(library, "gossamer.doctor", "--config", config)
    assert examined.returncode == 1, examined.stderr  # its broker does not answer
    assert examined.stderr == ""
    assert "no module named absent" in examined.stdout
