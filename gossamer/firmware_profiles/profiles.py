"""Profiles: what a class of devices, or a kind of link, can do and costs. TOML, integers, units in the key names.

A file says of every figure where it is from, in its table ``[sources]``; one without a source is refused. Profiles of
a user's own directory come before the packaged ones of the same name, and what ``gossamer profiles calibrate`` has
measured there comes before both::

    DIR/devices/NAME.toml        DIR/links/NAME.toml        DIR/calibration/NAME.toml

Reading them takes the standard library alone (tomli before Python 3.11), so that an agent may.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from gossamer.errors import ConfigError
from gossamer.settings import parse_toml

PACKAGED = Path(__file__).parent
ARCHITECTURES = ("x86-64", "aarch64", "armv7")
CODEC_KINDS = ("floats", "dense", "rotated", "sparse", "hist")
"""Kinds of codecs that take about equally long; `codec_kind` tells which one a spec is of."""
MAX_FIGURE = 10**15
NAME_FORM = "expected a file name of 1 to 32 lower-case letters, digits and '-'"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PREFIX_OF_KIND = (
    ("fp", "floats"), ("rot", "rotated"), ("ternary", "sparse"), ("topk", "sparse"), ("randk", "sparse"),
    ("hist", "hist"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A class of devices.

    Args:
        name: of the file, and of the class in ``[plans.NAME]``.
        title: as people say it.
        architecture: one of `ARCHITECTURES`.
        matches: texts that its ``/proc/device-tree/model`` begins with; empty: told by the architecture alone.
        memory_mib, cores, clock_mhz: of the board; the clock of one core at full speed.
        idle_milliwatts, busy_milliwatts: drawn by the whole board at rest, and while one core trains.
        train_megaflops: million floating point operations a second of a numpy fit, one thread, small batches.
        step_microseconds: of a step of a fit beside its arithmetic: the calls into numpy.
        codec_kilovalues_per_second: thousand coordinates encoded a second, by the kinds of `CODEC_KINDS`.
        fsync_milliseconds: until a small file is durable; start_milliseconds: until the training child has numpy.
        child_rss_mib: of that child, before data and model.
        sources: key -> where its figure is from.
        calibrated: day of the calibration, or empty.
    """

    KIND: ClassVar[str] = "devices"

    name: str
    title: str
    architecture: str
    matches: tuple[str, ...]
    memory_mib: int
    cores: int
    clock_mhz: int
    idle_milliwatts: int
    busy_milliwatts: int
    train_megaflops: int
    step_microseconds: int
    codec_kilovalues_per_second: Mapping[str, int]
    fsync_milliseconds: int
    start_milliseconds: int
    child_rss_mib: int
    sources: Mapping[str, str]
    calibrated: str = ""

    def check(self) -> None:
        """Raise `ConfigError` for what no device is."""
        if self.architecture not in ARCHITECTURES:
            _refuse(self, f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}")
        if set(self.codec_kilovalues_per_second) != set(CODEC_KINDS):
            _refuse(self, f"codec_kilovalues_per_second: expected {', '.join(CODEC_KINDS)}")
        positive = ("memory_mib", "cores", "clock_mhz", "train_megaflops", "start_milliseconds", "child_rss_mib")
        for key in positive:
            if getattr(self, key) < 1:
                _refuse(self, f"{key}: expected 1 or more")
        for kind, rate in self.codec_kilovalues_per_second.items():
            if rate < 1:
                _refuse(self, f"codec_kilovalues_per_second.{kind}: expected 1 or more")
        if self.busy_milliwatts < self.idle_milliwatts:
            _refuse(self, "busy_milliwatts: expected at least idle_milliwatts")


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """A kind of link, as one device has it. Powers are of the radio alone.

    Args:
        rate_up_bits_per_second, rate_down_bits_per_second: that IP sees on a good day.
        round_trip_milliseconds: of a small packet with the radio awake; loss_per_million: of packets.
        wake_milliseconds: until a sleeping radio carries the first packet.
        mtu_bytes: of an IP packet.
        tx_milliwatts, rx_milliwatts: while sending or receiving; tail_milliwatts for tail_milliseconds after the last
            packet, before the radio sleeps.
        metered: somebody pays by the byte; price_micro_eur_per_megabyte (10^6 bytes) then, 0 elsewhere.
    """

    KIND: ClassVar[str] = "links"

    name: str
    title: str
    rate_up_bits_per_second: int
    rate_down_bits_per_second: int
    round_trip_milliseconds: int
    wake_milliseconds: int
    loss_per_million: int
    mtu_bytes: int
    tx_milliwatts: int
    rx_milliwatts: int
    tail_milliwatts: int
    tail_milliseconds: int
    metered: bool
    price_micro_eur_per_megabyte: int
    sources: Mapping[str, str]

    def check(self) -> None:
        """Raise `ConfigError` for what no link is."""
        if min(self.rate_up_bits_per_second, self.rate_down_bits_per_second) < 1:
            _refuse(self, "rate_..._bits_per_second: expected 1 or more")
        if not 576 <= self.mtu_bytes <= 9_000:
            _refuse(self, f"mtu_bytes: expected 576 (any IPv4 host takes that) to 9000, got {self.mtu_bytes}")
        if self.loss_per_million >= 500_000:
            _refuse(self, "loss_per_million: expected less than half of all packets")


Profile = TypeVar("Profile", DeviceProfile, LinkProfile)


def codec_kind(spec: str) -> str:
    """Which of `CODEC_KINDS` a codec spec is of.

    >>> [codec_kind(spec) for spec in ("fp16", "rot1:ls", "topk:0.01/q4", "hist:80", "q8")]
    ['floats', 'rotated', 'sparse', 'hist', 'dense']
    """
    return next((kind for prefix, kind in _PREFIX_OF_KIND if spec.startswith(prefix)), "dense")


def parse_profile(cls: type[Profile], name: str, text: str, where: str) -> Profile:
    """Check a profile's TOML; raises `ConfigError` naming the file, the key, what was expected and what came."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: {NAME_FORM}, got {name!r}")
    try:
        table = parse_toml(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    wanted = {each.name: each for each in fields(cls) if each.name not in ("name", "calibrated")}
    _no_strangers(table, wanted, where)
    values: dict[str, Any] = {"name": name}
    for key, field in wanted.items():
        if key in table:
            values[key] = _value(key, table[key], str(field.type), where)
        elif field.default is MISSING:
            raise ConfigError(f"{where}: {key} is missing")
    _sourced(values, where)
    profile = cls(**values)
    profile.check()
    return profile


def _refuse(profile: DeviceProfile | LinkProfile, what: str) -> None:
    raise ConfigError(f"profile {profile.name}: {what}")


def _no_strangers(table: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    for key in table:
        if key not in wanted:
            close = difflib.get_close_matches(key, wanted, 1)
            hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(wanted)}"
            raise ConfigError(f"{where}: unknown key {key}; {hint}")


def _value(key: str, value: Any, kind: str, where: str) -> Any:
    """``value`` as the field's type; nothing is converted."""
    if kind == "int" and type(value) is int and 0 <= value <= MAX_FIGURE:
        return value
    if (kind == "str" and isinstance(value, str) and value) or (kind == "bool" and isinstance(value, bool)):
        return value
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if kind == "Mapping[str, str]" and isinstance(value, dict):
        return {each: _value(f"{key}.{each}", text, "str", where) for each, text in value.items()}
    if kind == "Mapping[str, int]" and isinstance(value, dict):
        return {each: _value(f"{key}.{each}", figure, "int", where) for each, figure in value.items()}
    expected = {
        "int": "a whole number from 0, in the unit of the key's name", "str": "text in quotes", "bool": "true or false",
        "Mapping[str, int]": "a table of whole numbers", "Mapping[str, str]": "a table of texts",
    }.get(kind, "a list of texts in quotes")  # fmt: skip
    raise ConfigError(f"{where}: {key}: expected {expected}, got {value!r}")


def _sourced(values: Mapping[str, Any], where: str) -> None:
    """Every figure has a source, and every source a figure."""
    figures = {key for key, value in values.items() if isinstance(value, int | dict) and key != "sources"}
    missing, idle = sorted(figures - set(values["sources"])), sorted(set(values["sources"]) - figures)
    if missing:
        raise ConfigError(f"{where}: [sources] says nothing about {', '.join(missing)}")
    if idle:
        raise ConfigError(f"{where}: [sources] names {', '.join(idle)}, which is no figure of this profile")


@dataclass(frozen=True)
class Profiles:
    """The packaged profiles, and over them those of ``own``, a user's directory that need not exist."""

    own: Path

    @classmethod
    def default(cls, given: Path | None = None) -> Profiles:
        """``given``, else ``~/.config/gossamer/profiles`` (or under XDG_CONFIG_HOME)."""
        home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return cls(given if given is not None else Path(home).expanduser() / "gossamer" / "profiles")

    def devices(self) -> list[DeviceProfile]:
        """All device profiles, by name."""
        return [self.device(name) for name in self.names(DeviceProfile.KIND)]

    def links(self) -> list[LinkProfile]:
        """All link profiles, by name."""
        return [self.link(name) for name in self.names(LinkProfile.KIND)]

    def device(self, name: str) -> DeviceProfile:
        """A device profile with what was measured on such a device here; raises `ConfigError`."""
        profile = self._read(DeviceProfile, name)
        measured = self.calibration_file(name)
        return profile if not measured.is_file() else calibrated(profile, _text(measured), str(measured))

    def link(self, name: str) -> LinkProfile:
        """A link profile; raises `ConfigError`."""
        return self._read(LinkProfile, name)

    def calibration_file(self, name: str) -> Path:
        """Where measured figures of a device profile are kept."""
        return self.own / "calibration" / f"{name}.toml"

    def _read(self, cls: type[Profile], name: str) -> Profile:
        for directory in (self.own, PACKAGED):
            path = directory / cls.KIND / f"{name}.toml"
            if _NAME.fullmatch(name) and path.is_file():
                return parse_profile(cls, name, _text(path), str(path))
        known = self.names(cls.KIND)
        if name in known:
            raise ConfigError(f"{name}.toml among your {cls.KIND}: {NAME_FORM}, got {name!r}")
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"no profile {name!r} among {cls.KIND}: {hint}known: {', '.join(known)}")

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind, packaged and own; none is read."""
        files = [path for place in (PACKAGED, self.own) for path in (place / kind).glob("*.toml")]
        return sorted({path.stem for path in files})


MEASURED_KEYS = (
    "train_megaflops", "step_microseconds", "codec_kilovalues_per_second", "fsync_milliseconds", "start_milliseconds",
    "child_rss_mib",
)  # fmt: skip
"""What a calibration may say."""


def calibrated(profile: DeviceProfile, text: str, where: str) -> DeviceProfile:
    """The profile with the figures of a calibration file in the place of its own; raises `ConfigError`."""
    try:
        table = parse_toml(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    day = table.pop("measured_on", None)
    if not isinstance(day, str):
        raise ConfigError(f"{where}: measured_on is missing: run gossamer profiles calibrate again")
    _no_strangers(table, dict.fromkeys(MEASURED_KEYS), where)
    kinds = {each.name: str(each.type) for each in fields(DeviceProfile)}
    values = {key: _value(key, value, kinds[key], where) for key, value in table.items()}
    source = f"measured on this device by gossamer profiles calibrate, {day}"
    found = replace(profile, **values, sources={**profile.sources, **dict.fromkeys(values, source)}, calibrated=day)
    found.check()
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
