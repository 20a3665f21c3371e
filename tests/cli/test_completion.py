"""Completion under a real bash, and the words it knows against their registries."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.aggregator.rules.registry import AROUND, RULES
from gossamer.cli import completion
from gossamer.compression import codec
from gossamer.wire.participation import ParticipationRule

from .command import Run

FUNCTION = """
eval "$(_GOSSAMER_COMPLETE=source_bash gossamer)"
function=$(complete -p gossamer | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"""
ONE = """
COMP_WORDS=(gossamer {words} {last}); COMP_CWORD={count}
$function gossamer
echo "${{COMPREPLY[@]}}"
"""


def complete(cwd: Path, *typed: tuple[str, str], **environment: str) -> list[list[str]]:
    """What bash offers for the last word behind ``gossamer WORDS``, for each pair of words and last word."""
    script = FUNCTION
    for words, last in typed:
        script += ONE.format(words=words, last=shlex.quote(last), count=len(shlex.split(words)) + 1)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, **environment}
    ended = subprocess.run(["bash", "-c", script], cwd=cwd, env=variables, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return [line.split() for line in ended.stdout.splitlines()]


@pytest.fixture
def state(run: Run, fleet: Path) -> Path:
    for name in ("pump-2", "meter_1"):
        assert run("fleet", "enroll", name, "--trainer", "m:f", "--state", fleet).code == 0
    with sqlite3.connect(fleet / "store.db") as db:
        db.execute("INSERT INTO jobs VALUES (1, 'gait', 'open', '{}', '[]', 0, 0.0)")
    db.close()
    return fleet


def test_bash_completes_devices_jobs_commands_and_words(state: Path, tmp_path: Path) -> None:
    typed = [
        (f"fleet why --state {state}", "pu"), ("fleet revoke", ""), ("fleet", "wh"), ("job show", ""),
        ("plan --codec", "ro"),
    ]  # fmt: skip
    assert complete(tmp_path, *typed, GOSSAMER_STATE=str(state)) == [
        ["pump-1", "pump-2"], ["pump-1", "pump-2", "meter_1"], ["why"], ["gait"], ["rot4", "rot2", "rot1"],
    ]  # fmt: skip


def names(run: Run, state: Path, incomplete: str) -> list[str]:
    class Context:
        def __init__(self) -> None:
            self.params = {"state": state}

    return completion.device_names(Context(), incomplete)  # type: ignore[arg-type]


def test_names_are_matched_to_the_letter(run: Run, state: Path, tmp_path: Path) -> None:
    assert names(run, state, "meter_") == ["meter_1"]
    assert names(run, state, "pump_") == []
    assert names(run, state, "%") == []


def test_a_store_that_is_not_there_or_busy_completes_to_nothing(run: Run, state: Path, tmp_path: Path) -> None:
    assert names(run, tmp_path / "nowhere", "") == []
    assert not (tmp_path / "nowhere").exists()
    (state / "store.db").write_bytes(b"nonsense" * 100)
    assert names(run, state, "") == []


def test_the_words_are_those_of_the_registries() -> None:
    assert set(completion.RULES) - {"auto"} == set(RULES)
    assert not set(AROUND) & set(RULES)
    assert {ParticipationRule.named(each) for each in completion.PARTICIPATIONS} == set(ParticipationRule)
    assert [codec(each).spec for each in completion.CODECS if each != "auto"] == list(completion.CODECS[1:])


def test_profiles_are_those_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert "pi-zero-2w" in completion.device_profiles("pi-")
    assert "nb-iot" in completion.link_profiles("")
    own = tmp_path / "gossamer" / "profiles" / "devices"
    own.mkdir(parents=True)
    (own / "pi-of-mine.toml").write_text("")
    assert "pi-of-mine" in completion.device_profiles("pi-")


def test_completing_loads_nothing_that_takes_long() -> None:
    code = (
        "import sys; import gossamer.cli.app; import json; "
        "print(json.dumps(sorted({'sqlalchemy', 'numpy', 'asyncio', 'cryptography', 'paho'} & set(sys.modules))))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_a_script(run: Run, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_GOSSAMER_COMPLETE", f"source_{shell}")
    shown = run().out
    assert "_GOSSAMER_COMPLETE" in shown
    assert "gossamer" in shown
