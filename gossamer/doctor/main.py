"""Which side to look at, and the report as text; what ``gossamer doctor`` and ``python -m gossamer.doctor`` share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gossamer.doctor.finding import Finding
from gossamer.errors import ConfigError

DEVICE_FILE = Path("/etc/gossamer/agent.toml")
SERVER_DIRECTORIES = (Path("gossamer-state"), Path("/var/lib/gossamer-server"))


def sides(
    config: Path | None, state: Path | None, environment: Mapping[str, str], here: Path = Path()
) -> tuple[Path | None, Path | None]:  # fmt: skip
    """Return (configuration of a device, state directory of a server): those named, else those found here.

    Raises:
        ConfigError: neither is named, and neither is found.
    """
    if config is not None or state is not None:
        return config, state
    named = [environment.get(name) for name in ("GOSSAMER_CONFIG", "GOSSAMER_STATE")]
    if any(named):
        return tuple(Path(each) if each else None for each in named)  # type: ignore[return-value]  # two of two
    device = DEVICE_FILE if DEVICE_FILE.exists() else None
    server = next((here / each for each in SERVER_DIRECTORIES if (here / each / "server.toml").exists()), None)
    if device is None and server is None:
        places = ", ".join(map(str, (DEVICE_FILE, *SERVER_DIRECTORIES)))
        raise ConfigError(f"neither a device nor a server at {places}: say --config FILE or --state DIR")
    return device, server


def examine(
    config: Path | None, state: Path | None, environment: Mapping[str, str], now: float, *, train: bool
) -> Iterator[Finding]:  # fmt: skip
    """Look at whatever is named, one finding as soon as it is made."""
    if config is not None:
        from gossamer.doctor import device

        yield from device.examine(config, environment, now, train=train)
    if state is not None:
        from gossamer.doctor import server

        yield from server.examine(state, environment, now)


def line(finding: Finding) -> str:
    """A finding as text: ``fail  broker port      ...`` and its mend below."""
    mend = f"\n{'':22}-> {finding.mend}" if finding.mend else ""
    return f"{finding.level.value:<4}  {finding.name:<14}  {finding.found}{mend}"
