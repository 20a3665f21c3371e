"""The promises the project makes about itself: sizes, dependencies, what it never does."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "gossamer").rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_MEDIAN_LINES = 150
MAX_FUNCTION_LINES = 60


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_modules_are_small():
    sizes = {path.relative_to(ROOT): lines(path) for path in MODULES}
    assert not {path: size for path, size in sizes.items() if size > MAX_MODULE_LINES}
    assert statistics.median(size for size in sizes.values() if size > 3) <= MAX_MEDIAN_LINES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_small_and_modules_say_what_they_are(path: Path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module opens with what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documentation = ast.get_docstring(node, clean=False) or ""
            size = node.end_lineno - node.lineno + 1 - len(documentation.splitlines())
            assert size <= MAX_FUNCTION_LINES, f"{node.name} has {size} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path):
    names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
    assert not names & {"eval", "exec"}
    if "pickle" in path.read_text() and path.name != "watch_file.py":  # it explains its restricted reader
        imported = [
            alias.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import) for alias in n.names
        ]
        assert "pickle" not in imported


def test_every_dependency_is_explained():
    page = (ROOT / "docs" / "dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(each for extra in extras for each in extra)]
    names = {re.split(r"[\s<>=!~;\[]", requirement)[0] for requirement in wanted} - {"gossamer"}
    missing = {name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)}
    assert not missing, f"docs/dependencies.md does not explain {missing}"


def test_the_documents_link_to_what_exists():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")),
             *sorted((ROOT / "benchmarks").glob("*.md"))]  # fmt: skip
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken
