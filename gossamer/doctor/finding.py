"""What a check found: how bad it is, in words, and what mends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class Level(str, enum.Enum):
    """How bad. SKIP: it could not be looked at here, which is no fault."""

    OK = "ok"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Args:
        name: what was looked at, such as ``broker tls``.
        level: how bad.
        found: what was seen there.
        mend: what to do, in one line; empty where nothing is to be done.
    """

    name: str
    level: Level
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, found)


def skip(name: str, found: str) -> Finding:
    """Not to be looked at here; ``found`` says why."""
    return Finding(name, Level.SKIP, found)


def warn(name: str, found: str, mend: str) -> Finding:
    """It works, and will not for ever or not well."""
    return Finding(name, Level.WARN, found, mend)


def fail(name: str, found: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(name, Level.FAIL, found, mend)


def broken(findings: Iterable[Finding]) -> bool:
    """Whether something fails: exit code 1."""
    return any(each.level is Level.FAIL for each in findings)


def rows(findings: Iterable[Finding]) -> Iterator[dict[str, str]]:
    """The findings as rows of a table or of JSON."""
    for each in findings:
        yield {"check": each.name, "level": each.level.value, "found": each.found, "mend": each.mend}
