"""Many devices from one CSV file: which, and what differs from one to the other."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec

MAX_FILE_BYTES = 64 << 20
"""A million devices in a line of 64 bytes each."""
COLUMNS = ("device", "trainer", "profile", "budget", "state_dir", "host", "port")
OPTION = "option."
"""Before the name of a parameter of the trainer's factory, in the name of a column."""

Value = str | int | float | bool
ParseOption = Callable[[str], tuple[str, Value]]
Wanted = tuple[DeviceSpec, BrokerAddress]


@dataclass(frozen=True)
class Defaults:
    """What a device gets where its line does not say otherwise: the options of the command."""

    trainer: str
    options: dict[str, Value]
    state_dir: str
    profile: str
    budget: str
    address: BrokerAddress

    def spec(self, name: str) -> Wanted:
        """A device with nothing of its own but a name. Raises ConfigError for a budget that is none."""
        if not self.trainer:
            raise ConfigError(f"device {name}: --trainer is missing: package.module:factory of its trainer")
        monthly = bytes_of(self.budget)
        return DeviceSpec(name, self.trainer, self.options, self.state_dir, self.profile, monthly), self.address

    def of(self, line: Mapping[str, str], parse_option: ParseOption) -> Wanted:
        """A device of the file; an empty field stands for the default."""
        own = {key: value for key, value in line.items() if value}
        named = {key.removeprefix(OPTION): value for key, value in own.items() if key.startswith(OPTION)}
        address = replace(self.address, host=own.get("host", self.address.host))
        if "port" in own:
            if not own["port"].isdecimal():
                raise ConfigError(f"port {own['port']!r}: expected a whole number")
            address = replace(address, port=int(own["port"]))
        mine = replace(
            self,
            trainer=own.get("trainer", self.trainer),
            options=self.options | dict(parse_option(f"{key}={value}") for key, value in named.items()),
            state_dir=own.get("state_dir", self.state_dir),
            profile=own.get("profile", self.profile),
            budget=own.get("budget", self.budget),
            address=address,
        )
        return mine.spec(own.get("device", ""))


def bytes_of(budget: str) -> int:
    """Bytes a month; 0 for an empty text. Raises ConfigError."""
    if not budget:
        return 0
    from gossamer.firmware_profiles.units import bytes_a_month

    return bytes_a_month(budget)


def read_batch(path: Path, defaults: Defaults, parse_option: ParseOption) -> list[Wanted]:
    """Read the file.

    Raises:
        ConfigError: names the line and the column, what was expected and what came.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB; enrol it in parts")
        text = path.read_text(encoding="utf-8-sig")  # a spreadsheet's byte order mark is no column
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; expected a CSV file in UTF-8") from error
    wanted = []
    for number, line in _lines(path, text):
        try:
            wanted.append(defaults.of(line, parse_option))
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
    if not wanted:
        raise ConfigError(f"{path} names no device; expected a first line of column names, then one device a line")
    return wanted


def _lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
    columns = [column.strip() for column in reader.fieldnames or ()]
    strange = [each for each in columns if each not in COLUMNS and not each.startswith(OPTION)]
    if strange or "device" not in columns:
        what = f"column {strange[0]!r}" if strange else "no column device"
        known = ", ".join(COLUMNS)
        raise ConfigError(f"{path}, line 1: {what}; expected names out of: {known}, {OPTION}KEY")
    reader.fieldnames = columns
    try:
        for line in reader:
            if None in line or None in line.values():
                raise ConfigError(f"{path}, line {reader.line_num}: expected {len(columns)} fields as in line 1")
            yield reader.line_num, {key: value.strip() for key, value in line.items()}
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
