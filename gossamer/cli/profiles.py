"""``gossamer profiles``: what is known of device classes and links, which one this machine is, and how quick it is."""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.completion import device_profiles, profiles
from gossamer.cli.output import Json, emit, emit_one, note
from gossamer.cli.plan import ProfilesDirectory
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.firmware_profiles import DeviceProfile, LinkProfile, Profiles

app = typer.Typer(help="Device classes and links: what they can do and what they cost.", no_args_is_help=True)


@app.command("list")
def list_profiles(profiles: ProfilesDirectory = None, as_json: Json = False) -> None:
    """List device and link profiles, the packaged ones and your own.

    Example: gossamer profiles list
    """
    import json

    known = _profiles(profiles)
    devices = [device_row(each) for each in known.devices()]
    links = [link_row(each) for each in known.links()]
    if as_json:
        sys.stdout.write(json.dumps({"devices": devices, "links": links}, indent=2) + "\n")
        return
    emit(devices, as_json=False, title="devices")
    emit(links, as_json=False, title="links")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Of a device or link profile.", autocompletion=profiles)],
    profiles: ProfilesDirectory = None,
    as_json: Json = False,
) -> None:
    """Show every figure of a profile and where it is from.

    Example: gossamer profiles show pi-zero-2w
    """
    rows = figures(_named(_profiles(profiles), name))
    emit(rows, as_json=as_json, title=name)


@app.command()
def detect(profiles: ProfilesDirectory = None, as_json: Json = False) -> None:
    """Say which profile fits this machine, and which link its default route suggests.

    Exit code 1 if no device profile fits.

    Example: gossamer profiles detect
    """
    from gossamer.firmware_profiles.detection import detect as detected
    from gossamer.firmware_profiles.detection import read_machine

    machine = read_machine()
    found = detected(machine, _profiles(profiles).devices())
    emit_one(
        {
            "device": found.device.name if found.device else None,
            "link": found.link or None,
            "why": found.why,
            "model": machine.model or None,
            "architecture": machine.architecture,
            "cpu": machine.cpu or None,
            "cores": machine.cores,
            "memory_mib": machine.memory_mib,
            "calibrated": (found.device.calibrated or "no") if found.device else None,
        },
        as_json=as_json,
    )
    if found.device is None:
        raise typer.Exit(1)


@app.command()
def calibrate(
    device: Annotated[
        str | None, typer.Option(help="Profile to calibrate; else the detected one.", autocompletion=device_profiles)
    ] = None,
    seconds: Annotated[float, typer.Option(help="For each of seven measurements.", min=0.05, max=60.0)] = 3.0,
    directory: Annotated[Path, typer.Option(help="On the disk that holds the agent's state.")] = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and show, keep nothing.")] = False,
    profiles: ProfilesDirectory = None,
    as_json: Json = False,
) -> None:
    """Measure codecs, training, disk and memory on this machine in under a minute, and keep the result.

    It is kept beside your own profiles, and gossamer plan uses it from then on.

    Example: gossamer profiles calibrate --directory /var/lib/gossamer
    """
    from gossamer.firmware_profiles.calibration import keep, measure_here
    from gossamer.firmware_profiles.profiles import MEASURED_KEYS

    known = _profiles(profiles)
    profile = known.device(device) if device is not None else _detected(known)
    if not directory.is_dir():
        raise ConfigError(f"--directory {directory}: no such directory; name one on the disk that holds the state")
    note(f"calibrating {profile.name}: about {7 * seconds + 2:.0f} s")
    measured = measure_here(
        seconds, directory, lambda step, number, count: note(f"[{number}/{count}] {step}")
    )
    path, day = known.calibration_file(profile.name), time.strftime("%Y-%m-%d", time.gmtime())
    if not dry_run:
        keep(profile, measured, path, day)
        note(f"kept in {path}")
    rows: list[dict[str, Any]] = []
    for key in MEASURED_KEYS:
        before, now = getattr(profile, key), measured[key]
        if isinstance(now, dict):
            rows += [_compared(f"{key}.{kind}", before[kind], now[kind]) for kind in now]
        else:
            rows.append(_compared(key, before, now))
    emit(rows, as_json=as_json, title=profile.name)


def _compared(key: str, before: int, now: int) -> dict[str, Any]:
    return {"figure": key, "before": before, "measured": now}


def device_row(profile: DeviceProfile) -> dict[str, Any]:
    """A line of the list."""
    return {
        "device": profile.name, "title": profile.title, "architecture": profile.architecture,
        "memory_mib": profile.memory_mib, "cores": profile.cores, "clock_mhz": profile.clock_mhz,
        "idle_mW": profile.idle_milliwatts, "busy_mW": profile.busy_milliwatts,
        "train_megaflops": profile.train_megaflops, "calibrated": profile.calibrated or "no",
    }  # fmt: skip


def link_row(profile: LinkProfile) -> dict[str, Any]:
    """A line of the list."""
    return {
        "link": profile.name, "title": profile.title, "up_bit_s": profile.rate_up_bits_per_second,
        "down_bit_s": profile.rate_down_bits_per_second, "round_trip_ms": profile.round_trip_milliseconds,
        "loss_percent": profile.loss_per_million / 1e4, "mtu": profile.mtu_bytes,
        "metered": "yes" if profile.metered else "no", "EUR_per_MB": profile.price_micro_eur_per_megabyte / 1e6,
    }  # fmt: skip


def figures(profile: DeviceProfile | LinkProfile) -> list[dict[str, Any]]:
    """Every figure of a profile with its source."""
    rows = []
    for each in fields(profile):
        value = getattr(profile, each.name)
        if each.name in ("name", "sources", "calibrated"):
            continue
        source = profile.sources.get(each.name, "")
        if isinstance(value, dict):
            rows += [{"figure": f"{each.name}.{k}", "value": v, "source": source} for k, v in value.items()]
        else:
            value = ", ".join(value) if isinstance(value, tuple) else value
            rows.append({"figure": each.name, "value": value, "source": source})
    return rows


def _profiles(directory: Path | None) -> Profiles:
    from gossamer.firmware_profiles import Profiles

    return Profiles.default(directory)


def _named(known: Profiles, name: str) -> DeviceProfile | LinkProfile:
    """A device, else a link of that name."""
    links = [each.name for each in known.links()]
    return known.link(name) if name in links else known.device(name)


def _detected(known: Profiles) -> DeviceProfile:
    from gossamer.firmware_profiles.detection import detect as detected
    from gossamer.firmware_profiles.detection import read_machine

    found = detected(read_machine(), known.devices())
    if found.device is None:
        raise ConfigError(f"{found.why}; or name one with --device")
    return found.device
