"""Settings files: TOML over packaged defaults, the environment over both, into frozen dataclasses.

An agent and a server have different settings and the same rules for them: one file holds every default with a
comment, keys carry their units, an unknown key is an error that names the closest known one, and nothing is
converted silently (an int may stand for a float).
"""

from __future__ import annotations

import difflib
import importlib
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from gossamer.errors import ConfigError

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ENVIRONMENT_PREFIX = "GOSSAMER_"
_SIMPLE = (str, int, float, bool, Path, Path | None)
_EXPECTED = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}

T = TypeVar("T")


def read_toml(path: Path, advice: str) -> dict[str, Any]:
    """Parse a TOML file. Raises :class:`ConfigError`; ``advice`` says how one comes by a missing file."""
    try:
        parsed = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}: {advice}") from error
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"configuration file {path} cannot be read as TOML: {error}") from error
    return parsed


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML text. Raises :class:`ConfigError` with the line where it goes wrong."""
    try:
        parsed: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(error)) from error
    except RecursionError as error:
        raise ConfigError("tables or lists nested too deep") from error
    return parsed


def build(
    cls: type[T],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    base: Path,
    environment: Mapping[str, str],
    *,
    at_least: Mapping[str, float] = types.MappingProxyType({}),
    at_most: Mapping[str, float] = types.MappingProxyType({}),
    prefix: str = "",
) -> T:
    """Make the dataclass ``cls`` from parsed tables.

    Args:
        cls: fields of type str, int, float, bool, Path, ``Path | None``, list[Path], list[str], dict or such a class.
        given: what the file says.
        defaults: the values of fields that ``given`` lacks.
        base: relative paths start here.
        environment: GOSSAMER_KEY and GOSSAMER_TABLE_KEY override the file.
        at_least: dotted key -> smallest value of a number.
        at_most: dotted key -> largest value of a number.
        prefix: of the keys in messages.

    Raises:
        ConfigError: names the key, what was expected and what came.
    """
    hints = typing.get_type_hints(cls)
    _refuse_unknown(given, hints, prefix)
    values: dict[str, Any] = {}
    for each in fields(cls):  # type: ignore[arg-type]  # T is a dataclass; typing cannot say so before 3.13
        name, key, hint = each.name, prefix + each.name, hints[each.name]
        if is_dataclass(hint):
            table = given.get(name, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"{key}: expected a table [{key}], got {table!r}")
            values[name] = build(
                typing.cast("type[Any]", hint), table, defaults.get(name, {}), base, environment,
                at_least=at_least, at_most=at_most, prefix=f"{key}.",
            )  # fmt: skip
            continue
        variable = ENVIRONMENT_PREFIX + key.replace(".", "_").upper()
        if variable in environment and hint in _SIMPLE:
            origin = f"{key} (from {variable})"
            values[name] = _convert(origin, _typed(environment[variable], hint), hint, base)
        elif name in given or name in defaults:
            values[name] = _convert(key, given.get(name, defaults.get(name, MISSING)), hint, base)
        else:
            raise ConfigError(f"{key} is missing: every configuration must set it")
        if hint is float and not math.isfinite(values[name]):
            raise ConfigError(f"{key} = {values[name]}: expected a finite number")
        if key in at_least and values[name] < at_least[key]:
            raise ConfigError(f"{key} = {values[name]}: expected at least {at_least[key]:g}")
        if key in at_most and values[name] > at_most[key]:
            raise ConfigError(f"{key} = {values[name]}: expected at most {at_most[key]:g}")
    return cls(**values)


def _refuse_unknown(given: Mapping[str, Any], hints: Mapping[str, Any], prefix: str) -> None:
    for key in given:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, 1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known keys: {', '.join(sorted(hints))}"
            raise ConfigError(f"unknown key {prefix}{key}; {hint}")


def _typed(text: str, hint: Any) -> Any:
    """An environment variable as the type of its key; what does not fit stays text and is refused later."""
    if hint is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text


def _convert(key: str, value: Any, hint: Any, base: Path) -> Any:
    """``value`` as ``hint``; an int may stand for a float, nothing else is guessed."""
    if hint is Path or hint == (Path | None):
        if isinstance(value, str):
            if value == "" and hint is not Path:
                return None
            return base / Path(value).expanduser()
    elif isinstance(hint, types.GenericAlias) and hint.__origin__ is list:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value if hint == list[str] else [base / Path(each).expanduser() for each in value]
    elif isinstance(hint, types.GenericAlias):
        if isinstance(value, dict):
            return dict(value)
    elif hint is float and type(value) is int:
        return float(value)
    elif type(value) is hint:
        return value
    path = hint in (Path, Path | None)
    texts = hint == list[str]
    other = "a path in quotes" if path else "a list of texts in quotes" if texts else "a list of paths or a table"
    expected = _EXPECTED.get(hint, other)
    raise ConfigError(f"{key}: expected {expected}, got {value!r}")
