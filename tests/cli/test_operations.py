"""docs/operations.md: every reason is explained, and every command in it is one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gossamer.doctor.finding import Level
from gossamer.fleet.why import Verdict
from gossamer.wire.codes import Absence

from .test_help import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", PAGE, re.DOTALL))
TYPED = re.findall(r"^(?:\$ )?gossamer ((?!--)[^|>\n#]*)", BLOCKS, re.MULTILINE)
INSTEAD = {Verdict.ABSENT: "battery", Verdict.REJECTED: "bad-signature", Verdict.RULED_OUT: "ruled-out: too-large"}


def test_every_reason_is_in_the_table() -> None:
    for verdict in Verdict:
        assert f"`{INSTEAD.get(verdict, verdict.value)}`" in PAGE, verdict
    for absence in Absence:
        assert f"`{absence.label}`" in PAGE, absence
    for level in Level:
        assert f"`{level.value}`" in PAGE, level


@pytest.mark.parametrize("typed", TYPED)
def test_what_is_typed_parses(typed: str) -> None:
    words = shlex.split(typed)
    path = next(tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS)
    assert COMMANDS[path].make_context(" ".join(path), words[len(path) :]).params


def test_there_is_something_typed() -> None:
    assert len(TYPED) >= 7
