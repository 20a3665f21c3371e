"""What can be said of the units without systemd: their texts agree with each other and with the agent."""

from __future__ import annotations

import re
from pathlib import Path

from gossamer.errors import ConfigError

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "gossamer-agent.service"


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_packaged_unit_is_that_of_the_repository() -> None:
    packaged = ROOT / "gossamer" / "project" / "templates" / "gossamer-agent.service"
    assert packaged.read_bytes() == UNIT.read_bytes()


def test_only_a_wrong_setting_is_not_tried_again() -> None:
    assert values("RestartPreventExitStatus") == [str(ConfigError.exit_code)]
    assert values("StartLimitIntervalSec") == ["0"]


def test_every_credential_has_a_default_but_the_configuration() -> None:
    loaded = dict(value.split(":", 1) for value in values("LoadCredential"))
    assert {name: Path(path).name for name, path in loaded.items()} == {name: name for name in loaded}
    assert set(loaded) - {value.split(":")[0] for value in values("SetCredential")} == {"agent.toml"}
    assert values("ConditionPathExists") == [loaded["agent.toml"]]


def test_there_is_no_key_that_debian_12_does_not_know() -> None:
    """RestartSteps= and its like came with systemd 254; an older one only warns, at every boot."""
    assert not re.search(r"^(RestartSteps|RestartMaxDelaySec|MemoryZSwapMax)=", UNIT.read_text(), re.MULTILINE)
