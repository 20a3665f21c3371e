"""The builder behind every settings file: what it converts, what it refuses and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import ConfigError
from gossamer.settings import build, parse_toml, read_toml


@dataclass(frozen=True)
class Inner:
    host: str
    port: int


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    rate: float
    on: bool
    place: Path
    maybe: Path | None
    paths: list[Path]
    extra: dict[str, Any]
    inner: Inner


GIVEN: dict[str, Any] = {"name": "n", "place": "here"}
DEFAULTS: dict[str, Any] = {
    "count": 1, "rate": 0.5, "on": False, "maybe": "", "paths": [], "extra": {}, "inner": {"host": "h", "port": 1},
}  # fmt: skip


def made(changes: dict[str, Any] | None = None, environment: dict[str, str] | None = None, **limits: Any) -> Outer:
    return build(Outer, GIVEN | (changes or {}), DEFAULTS, Path("/base"), environment or {}, **limits)


def test_the_file_over_the_defaults() -> None:
    assert made() == Outer("n", 1, 0.5, False, Path("/base/here"), None, [], {}, Inner("h", 1))
    changes = {"rate": 2, "maybe": "a", "paths": ["b", "/c"], "extra": {"k": [1]}, "inner": {"port": 7}}
    found = made(changes)
    assert (found.rate, type(found.rate)) == (2.0, float), "an int may stand for a float"
    assert (found.maybe, found.paths) == (Path("/base/a"), [Path("/base/b"), Path("/c")])
    assert (found.extra, found.inner) == ({"k": [1]}, Inner("h", 7))
    assert found.extra is not changes["extra"]


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert made({"place": "~/x"}).place == Path("/home/somebody/x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coutn": 1}, "unknown key coutn; did you mean count?"),
        ({"zzzz": 1}, "unknown key zzzz; known keys: count, extra, inner"),
        ({"inner": {"hots": 1}}, "unknown key inner.hots; did you mean inner.host?"),
        ({"inner": {"qqqq": 1}}, "unknown key inner.qqqq; known keys: host, port"),
        ({"inner": 3}, "inner: expected a table [inner], got 3"),
        ({"inner": {"port": "1"}}, "inner.port: expected a whole number, got '1'"),
        ({"count": 1.0}, "count: expected a whole number, got 1.0"),
        ({"count": True}, "count: expected a whole number, got True"),
        ({"rate": "fast"}, "rate: expected a number, got 'fast'"),
        ({"rate": True}, "rate: expected a number, got True"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"name": 3}, "name: expected text in quotes, got 3"),
        ({"place": 3}, "place: expected a path in quotes, got 3"),
        ({"maybe": []}, "maybe: expected a path in quotes, got []"),
        ({"paths": "a"}, "paths: expected a list of paths"),
        ({"paths": [1]}, "paths: expected a list of paths"),
        ({"extra": 1}, "extra: expected"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made(changes)
    assert words in str(refused.value)


def test_a_key_without_a_default_is_missing() -> None:
    with pytest.raises(ConfigError, match="name is missing: every configuration must set it"):
        build(Outer, {"place": "x"}, DEFAULTS, Path(), {})


def test_the_environment_over_the_file() -> None:
    environment = {
        "GOSSAMER_NAME": "e", "GOSSAMER_COUNT": "9", "GOSSAMER_RATE": "3", "GOSSAMER_ON": "TRUE", "GOSSAMER_PLACE": "p",
        "GOSSAMER_MAYBE": "/m", "GOSSAMER_INNER_PORT": "5", "GOSSAMER_EXTRA": "no", "GOSSAMER_PATHS": "no",
        "PORT": "no", "GOSSAMER_ELSE": "no",
    }  # fmt: skip
    found = made({"count": 2, "maybe": "x"}, environment)
    assert found == Outer("e", 9, 3.0, True, Path("/base/p"), Path("/m"), [], {}, Inner("h", 5))
    assert made({"on": True}, {"GOSSAMER_ON": "0"}).on is False
    assert made({"maybe": "x"}, {"GOSSAMER_MAYBE": ""}).maybe is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("COUNT", "many", "count (from GOSSAMER_COUNT): expected a whole number, got 'many'"),
        ("COUNT", "1.5", "count (from GOSSAMER_COUNT): expected a whole number"),
        ("RATE", "", "rate (from GOSSAMER_RATE): expected a number"),
        ("ON", "maybe", "on (from GOSSAMER_ON): expected true or false"),
        ("INNER_PORT", "x", "inner.port (from GOSSAMER_INNER_PORT): expected a whole number"),
    ],
)
def test_what_is_refused_names_the_variable(name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made({}, {f"GOSSAMER_{name}": text})
    assert words in str(refused.value)


def test_ranges() -> None:
    limits = {"at_least": {"count": 1, "inner.port": 1}, "at_most": {"rate": 0.5, "inner.port": 9}}
    assert made({"inner": {"port": 9}}, **limits).inner.port == 9
    for changes, words in (
        ({"count": 0}, "count = 0: expected at least 1"),
        ({"rate": 0.75}, "rate = 0.75: expected at most 0.5"),
        ({"inner": {"port": 0}}, "inner.port = 0: expected at least 1"),
        ({"inner": {"port": 10}}, "inner.port = 10: expected at most 9"),
    ):
        with pytest.raises(ConfigError) as refused:
            made(changes, **limits)
        assert words in str(refused.value)
    with pytest.raises(ConfigError, match="count = 0: expected at least 1"):
        made({}, {"GOSSAMER_COUNT": "0"}, **limits)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_is_finite(number: float) -> None:
    with pytest.raises(ConfigError, match=r"rate = .*: expected a finite number"):
        made({"rate": number})
    with pytest.raises(ConfigError, match=r"rate = .*: expected a finite number"):
        made({}, {"GOSSAMER_RATE": str(number)})


def test_reading_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match=r"no configuration file .*a\.toml: make one"):
        read_toml(file, "make one")
    file.write_text("[t]\na = 1\n")
    assert read_toml(file, "") == {"t": {"a": 1}}
    for data in (b"a = \n", b"\xff", b"a = 1\na = 2\n"):
        file.write_bytes(data)
        with pytest.raises(ConfigError, match=r"a\.toml cannot be read as TOML"):
            read_toml(file, "")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path, "")
    with pytest.raises(ConfigError, match="line 2"):
        parse_toml("a = 1\nb\n")
