"""Factories as names: what can be named, and what is refused with the mend."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent.factory import SCRIPT_NAME, load_factory
from gossamer.api.reference import own_path, reference
from gossamer.errors import ConfigError, InputError
from tests.agent.tiny import Tiny, make

from .scripts import answer, write


class Holder:
    @staticmethod
    def make() -> Tiny:
        return Tiny()


def rebound() -> Tiny:
    return Tiny()


original, rebound = rebound, functools.partial(rebound)  # type: ignore[assignment]


def test_a_function_and_a_class_of_a_module() -> None:
    assert reference(make).trainer == "tests.agent.tiny:make"
    assert reference(Tiny).trainer == "tests.agent.tiny:Tiny"
    assert reference("gait.model:trainer").trainer == "gait.model:trainer"
    assert reference(make).arguments == ()


@pytest.mark.parametrize(
    "wrong",
    [lambda: Tiny(), Holder.make, Holder().make, functools.partial(make, d=4), original, Tiny(), 3, "gait", "a:b:c"],
    ids=["lambda", "method", "bound", "partial", "rebound", "made already", "number", "no colon", "two colons"],
)
def test_what_another_process_cannot_find(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"def trainer\(\)|expected \"package"):
        reference(wrong)


def test_a_nested_function() -> None:
    def nested() -> Tiny:
        return Tiny()

    with pytest.raises(InputError, match="top level"):
        reference(nested)


TELL = """
from gossamer.api.reference import reference
def trainer(): ...
if __name__ == "__main__":
    found = reference(trainer)
    print(found.trainer, *found.arguments, sep="|")
    print(found.path[0])
"""


def test_the_script_that_runs_is_named_by_its_file(tmp_path: Path) -> None:
    script = write(tmp_path, TELL, "my-script.py")
    code, out, _ = answer(script, "--lr", "0.1", cwd=Path("/"))
    assert code == 0
    named, path = out.splitlines()
    assert named == f"{script}:trainer|--lr|0.1"
    assert path == str(tmp_path)


def test_a_program_started_as_a_module(tmp_path: Path) -> None:
    package = tmp_path / "gait"
    package.mkdir()
    write(package, TELL, "__main__.py")
    write(package, TELL, "model.py")
    for started, expected in (("gait", "gait.__main__:trainer"), ("gait.model", "gait.model:trainer")):
        code, out, err = answer("-m", started, cwd=tmp_path)
        assert (code, err) == (0, "")
        assert out.splitlines() == [expected, str(tmp_path)]


def test_the_prompt_cannot_be_imported(tmp_path: Path) -> None:
    code, _, err = answer("-c", TELL, cwd=tmp_path)
    assert code == 1
    assert "put it into a file" in err


def test_own_path_follows_what_the_script_has_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "absent")])
    assert str(tmp_path) in own_path()
    assert str(tmp_path / "absent") not in own_path()
    assert not [each for each in own_path() if "site-packages" in each]


# -- the other end: a name becomes a factory again ---------------------------------------------------------


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.mark.usefixtures("_clean")
def test_a_script_is_imported_once_under_its_own_name(tmp_path: Path) -> None:
    script = write(tmp_path, "import helper\ndef trainer(): return helper.N, __name__\n", "odd name.py")
    write(tmp_path, "N = 7\n", "helper.py")
    first = load_factory(f"{script}:trainer")
    assert first() == (7, "odd name")
    assert load_factory(f"{script}:trainer") is first
    assert load_factory("odd name.py:trainer", [str(tmp_path)]) is first
    assert sys.modules["__main__"].__name__ != "odd name"


@pytest.mark.usefixtures("_clean")
def test_a_script_named_as_a_library(tmp_path: Path) -> None:
    script = write(tmp_path, "def trainer(): return __name__\n", "json.py")
    assert load_factory(f"{script}:trainer")() == SCRIPT_NAME


@pytest.mark.usefixtures("_clean")
def test_in_the_child_it_is_main_with_its_arguments(tmp_path: Path) -> None:
    script = write(tmp_path, "import sys\nseen = list(sys.argv)\ndef trainer(): return seen\n")
    kept = sys.modules["__main__"]
    assert load_factory(f"{script}:trainer", (), ["--lr", "1"])() == [str(script), "--lr", "1"]
    assert sys.modules["__main__"].__file__ == str(script)
    assert kept is not sys.modules["__main__"]


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(4)\n", "ended with exit code 4 while it was imported"),
        ("import absent_library\n", "no module named absent_library"),
        ("x = 1\n", "has no 'trainer'"),
    ],
)
def test_scripts_that_give_no_factory(tmp_path: Path, text: str, message: str) -> None:
    script = write(tmp_path, text, "broken.py")
    with pytest.raises(ConfigError, match=message):
        load_factory(f"{script}:trainer")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file absent\.py"):
        load_factory("absent.py:trainer", [str(tmp_path)])
