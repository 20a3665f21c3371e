"""Profiles as data: what is packaged, what is refused, whose figures win."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.errors import ConfigError
from gossamer.firmware_profiles import DeviceProfile, LinkProfile, Profiles
from gossamer.firmware_profiles.profiles import PACKAGED, calibrated, codec_kind, parse_profile

DEVICES = {
    "pi-zero-2w", "pi-3b-plus", "pi-4", "pi-5", "jetson-nano", "jetson-orin-nano", "generic-x86", "generic-armv7",
}  # fmt: skip
LINKS = {"gprs", "edge", "nb-iot", "lte-m", "satellite", "wifi", "ethernet"}
CALIBRATION = 'measured_on = "2026-01-02"\ntrain_megaflops = 77\n'


def text(kind: str, name: str) -> str:
    return (PACKAGED / kind / f"{name}.toml").read_text()


def test_what_is_packaged(tmp_path: Path):
    profiles = Profiles(tmp_path / "none")
    assert {each.name for each in profiles.devices()} == DEVICES
    assert {each.name for each in profiles.links()} == LINKS
    assert all(len(source) > 3 for each in profiles.devices() for source in each.sources.values())


def test_faster_boards_are_faster_and_thinner_links_thinner(tmp_path: Path):
    profiles = Profiles(tmp_path)
    boards = [profiles.device(name) for name in ("generic-armv7", "pi-zero-2w", "pi-3b-plus", "pi-4", "pi-5")]
    assert [b.train_megaflops for b in boards] == sorted(b.train_megaflops for b in boards)
    assert [b.start_milliseconds for b in boards] == sorted((b.start_milliseconds for b in boards), reverse=True)
    links = [profiles.link(name).rate_up_bits_per_second for name in ("satellite", "gprs", "edge", "lte-m", "wifi")]
    assert links == sorted(links)
    assert not profiles.link("wifi").metered
    assert profiles.link("satellite").metered


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("memory_mib = 512", "memory_mib = 512.0"), "memory_mib: expected a whole number"),
        (("memory_mib = 512", "memory_mib = true"), "memory_mib: expected a whole number"),
        (("memory_mib = 512", "memory_mib = -1"), "memory_mib: expected a whole number from 0"),
        (("memory_mib = 512", "memory_mib = 0"), "memory_mib: expected 1 or more"),
        (("memory_mib = 512", ""), "memory_mib is missing"),
        (("memory_mib = 512", "memory_mb = 512"), "unknown key memory_mb; did you mean memory_mib?"),
        (('cores = "', 'core = "'), "[sources] says nothing about cores"),
        (('cores = "', 'colour = "x"\ncores = "'), "[sources] names colour"),
        (('"aarch64"', '"arm64"'), "architecture: expected one of x86-64, aarch64, armv7"),
        (("busy_milliwatts = 1100", "busy_milliwatts = 10"), "expected at least idle_milliwatts"),
        (("hist = 250\n", ""), "codec_kilovalues_per_second: expected floats, dense"),
        (("hist = 250", 'hist = "x"'), "codec_kilovalues_per_second.hist: expected a whole number"),
        (("title =", "title"), "pi-zero-2w.toml: "),
    ],
)  # fmt: skip
def test_a_device_is_refused(change: tuple[str, str], message: str):
    original = text("devices", "pi-zero-2w")
    assert change[0] in original
    with pytest.raises(ConfigError) as refused:
        parse_profile(DeviceProfile, "pi-zero-2w", original.replace(change[0], change[1], 1), "pi-zero-2w.toml")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("mtu_bytes = 1400", "mtu_bytes = 40"), "mtu_bytes: expected 576"),
        (("loss_per_million = 20000", "loss_per_million = 900000"), "less than half of all packets"),
        (("metered = true", "metered = 1"), "metered: expected true or false"),
        (("rate_up_bits_per_second = 26800", "rate_up_bits_per_second = 0"), "expected 1 or more"),
    ],
)
def test_a_link_is_refused(change: tuple[str, str], message: str):
    with pytest.raises(ConfigError) as refused:
        parse_profile(LinkProfile, "gprs", text("links", "gprs").replace(*change, 1), "gprs.toml")
    assert message in str(refused.value)


def test_ones_own_profiles_come_first(tmp_path: Path):
    (tmp_path / "devices").mkdir()
    own = text("devices", "pi-4").replace("memory_mib = 2048", "memory_mib = 8192")
    (tmp_path / "devices" / "pi-4.toml").write_text(own)
    (tmp_path / "devices" / "meter.toml").write_text(own.replace("Raspberry Pi 4 Model B", "Meter"))
    profiles = Profiles(tmp_path)
    assert profiles.device("pi-4").memory_mib == 8192
    assert profiles.device("meter").title == "Meter"
    assert {each.name for each in profiles.devices()} == DEVICES | {"meter"}


def test_what_was_measured_comes_before_both(tmp_path: Path):
    (tmp_path / "calibration").mkdir()
    profiles = Profiles(tmp_path)
    before = profiles.device("pi-4")
    profiles.calibration_file("pi-4").write_text(CALIBRATION)
    after = profiles.device("pi-4")
    assert (after.train_megaflops, after.calibrated) == (77, "2026-01-02")
    assert "measured on this device" in after.sources["train_megaflops"]
    assert after.memory_mib == before.memory_mib


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (CALIBRATION.replace("77", "0"), "train_megaflops: expected 1 or more"),
        (CALIBRATION + "memory_mib = 1\n", "unknown key memory_mib"),
        ("train_megaflops = 77\n", "measured_on is missing"),
        ("[", "calibration.toml"),
    ],
)
def test_a_calibration_is_refused(tmp_path: Path, wrong: str, message: str):
    with pytest.raises(ConfigError, match=message):
        calibrated(Profiles(tmp_path).device("pi-4"), wrong, "calibration.toml")


def test_a_name_that_is_none(tmp_path: Path):
    with pytest.raises(ConfigError, match="did you mean pi-4"):
        Profiles(tmp_path).device("pi4")
    with pytest.raises(ConfigError, match="no profile"):
        Profiles(tmp_path).link("../devices/pi-4")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "My Link.toml").touch()
    with pytest.raises(ConfigError, match=r"My Link.toml among your links: expected a file name"):
        Profiles(tmp_path).links()


def test_every_codec_has_a_kind():
    from gossamer.compression.codecs import REGISTRY

    kinds = {codec_kind(spec) for method in REGISTRY.methods for spec in method.examples}
    assert kinds == {"floats", "dense", "rotated", "sparse", "hist"}


def test_an_agent_may_read_them_without_numpy():
    code = (
        "import sys; from pathlib import Path; from gossamer.firmware_profiles import Profiles\n"
        "assert len(Profiles(Path('/none')).devices()) == 8\n"
        "assert not {'numpy', 'typer', 'rich'} & set(sys.modules), 'too much'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
