"""Build gossamer-agent_VERSION_ARCH.deb: the agent, and what it needs that the distribution lacks or has too old.

    python deploy/deb/build.py --out dist [--arch arm64] [--revision 2]

Run by the project's own environment: paho-mqtt is taken from there. Needs dpkg-deb and nothing else, no root, no
network, no foreign machine, because all of it is Python source. The same commit and the same paho-mqtt give the same
bytes. Why the rest comes from the distribution: docs/decisions/0019-the-package.md.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = "gossamer-agent"
ARCHITECTURES = ("amd64", "arm64", "armhf")
#: What runs on a device: the agent, the trainers people derive from, and the doctor, which has its words from fleet.
PARTS = (
    "__init__.py", "py.typed", "errors.py", "settings.py", "agent", "api", "compression", "doctor", "firmware_profiles",
    "fleet/__init__.py", "fleet/keys.py", "fleet/mends.py", "fleet/mosquitto.py", "fleet/words.py", "methods", "mqtt",
    "objectives", "trainers", "wire",
)  # fmt: skip
DEPENDS = (
    "python3 (>= 3.11) | python3-tomli", "python3 (>= 3.10)", "python3-numpy (>= 1:1.24)", "python3-cbor2 (>= 5.4)",
    "python3-cryptography (>= 38)",
)  # fmt: skip
LIBRARY = "usr/lib/gossamer"
DOCUMENTS = f"usr/share/doc/{PACKAGE}"


def version_of(revision: str) -> str:
    """Return the project's version as a Debian version."""
    text = (ROOT / "gossamer" / "__init__.py").read_text()
    (upstream,) = re.findall(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    return f"{upstream}-{revision}"


def epoch() -> int:
    """Return the time that everything in the package has: SOURCE_DATE_EPOCH, or that of the last commit."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        sys.exit("this is no git checkout: say of which time the package is, in SOURCE_DATE_EPOCH")
    return int(done.stdout)


def fill(tree: Path, version: str, when: int) -> None:
    """Put everything that gets installed into ``tree``."""
    for part in PARTS:
        copy(ROOT / "gossamer" / part, tree / LIBRARY / "gossamer" / part)
    vendor_paho(tree)
    install(HERE / "gossamer-agent", tree / "usr/bin/gossamer-agent", 0o755)
    install(HERE / "gossamer-doctor", tree / "usr/bin/gossamer-doctor", 0o755)
    install(ROOT / "deploy" / "gossamer-agent.service", tree / "usr/lib/systemd/system/gossamer-agent.service")
    install(HERE / "rtupdate", tree / f"usr/share/python3/runtime.d/{PACKAGE}.rtupdate", 0o755)
    install(HERE / "lintian-overrides", tree / f"usr/share/lintian/overrides/{PACKAGE}")
    install(ROOT / "gossamer" / "agent" / "defaults.toml", tree / DOCUMENTS / "defaults.toml")
    install(HERE / "copyright", tree / DOCUMENTS / "copyright")
    manual = (HERE / "gossamer-agent.8").read_text().replace("@VERSION@", version)
    compress(manual, tree / "usr/share/man/man8/gossamer-agent.8.gz")
    compress(".so man8/gossamer-agent.8\n", tree / "usr/share/man/man8/gossamer-doctor.8.gz")
    compress((ROOT / "CHANGELOG.md").read_text(), tree / DOCUMENTS / "changelog.gz")
    compress(debian_changelog(version, when), tree / DOCUMENTS / "changelog.Debian.gz")
    (tree / "etc/gossamer").mkdir(parents=True)
    (tree / "etc/gossamer").chmod(0o700)


def vendor_paho(tree: Path) -> None:
    """Copy paho-mqtt out of the environment that runs this, with its licences."""
    distribution = importlib.metadata.distribution("paho-mqtt")
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file)))
        if file.parts[0] == "paho" and file.suffix in (".py", ".typed"):
            install(source, tree / LIBRARY / file)
        elif file.name == "METADATA":
            install(source, tree / LIBRARY / file)  # its version, for who asks importlib.metadata
        elif "licenses" in file.parts and file.name != "LICENSE.txt":
            install(source, tree / DOCUMENTS / "paho-mqtt" / file.name)


def control(version: str, architecture: str, size_kib: int) -> str:
    """Return DEBIAN/control."""
    paho = importlib.metadata.version("paho-mqtt")
    return f"""\
Package: {PACKAGE}
Version: {version}
Architecture: {architecture}
Maintainer: Gossamer developers <gossamer@packages.invalid>
Installed-Size: {size_kib}
Depends: {", ".join(DEPENDS)}
Recommends: systemd (>= 248)
Suggests: modemmanager
Section: net
Priority: optional
Description: federated learning on the thinnest links there are: the device's agent
 Trains a model on this device's own data and sends an update of a few
 kilobytes or less over MQTT; the data stays where it is. Loses no work when
 the power goes at any byte, and accounts for each byte that it sends.
 .
 Runs as a systemd service under a transient user. The trainer is the fleet's
 own; PyTorch or LiteRT are needed only where it uses them. Contains
 paho-mqtt {paho}.
"""


def debian_changelog(version: str, when: int) -> str:
    """Return the package's own changelog."""
    date = email.utils.formatdate(when)
    return (
        f"{PACKAGE} ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n"
        f" -- Gossamer developers <gossamer@packages.invalid>  {date}\n"
    )


def install(source: Path, target: Path, mode: int = 0o644) -> None:
    """Copy one file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or of a directory everything but what Python has compiled."""
    for each in [source] if source.is_file() else sorted(source.rglob("*")):
        if each.is_file() and "__pycache__" not in each.parts and each.suffix != ".pyc":
            install(each, target if source.is_file() else target / each.relative_to(source))


def compress(text: str, target: Path) -> None:
    """Write ``text`` as gzip without a time or a name in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    target.chmod(0o644)


def settle(tree: Path, when: int) -> None:
    """Give every directory its mode, and everything the same time."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_dir() and path != tree / "etc/gossamer":
            path.chmod(0o755)
        os.utime(path, (when, when))
    tree.chmod(0o755)
    os.utime(tree, (when, when))


def build(out: Path, architecture: str, revision: str) -> Path:
    """Build one package; return its path."""
    version, when = version_of(revision), epoch()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{PACKAGE}_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="gossamer-deb-") as directory:
        tree = Path(directory) / "tree"
        fill(tree, version, when)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]  # noqa: S324
        size_kib = sum(-(-path.stat().st_size // 1024) for path in files)
        debian = tree / "DEBIAN"
        debian.mkdir()
        (debian / "control").write_text(control(version, architecture, size_kib))
        (debian / "md5sums").write_text("".join(sums))
        for script in ("postinst", "prerm", "postrm"):
            install(HERE / script, debian / script, 0o755)
        for name in ("control", "md5sums"):
            (debian / name).chmod(0o644)
        settle(tree, when)
        # One thread: with more of them, xz cuts its blocks, and so the bytes, by the machine's number of cores.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(when), "DPKG_DEB_THREADS_MAX": "1"}
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(target)]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own words
    return target


def main() -> None:
    """Build what the command line asks for, and print a line for each."""
    parser = argparse.ArgumentParser(
        description="Build the agent's Debian package.", epilog="Example: python deploy/deb/build.py --arch armhf"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="where to (default: dist)")
    parser.add_argument("--arch", choices=(*ARCHITECTURES, "all"), action="append", help="default: all three machines")
    parser.add_argument("--revision", default="1", help="of the package, after the version's dash (default: 1)")
    given = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        sys.exit("dpkg-deb is needed: apt-get install dpkg")
    for architecture in given.arch or ARCHITECTURES:
        path = build(given.out, architecture, given.revision)
        print(f"{path}  {path.stat().st_size} bytes  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
