"""Mosquitto's password and access-control files, edited one account at a time.

Formats: mosquitto_passwd(1) (``user:$7$iterations$salt$hash``, PBKDF2 with SHA-512) and the ACL section
of mosquitto.conf(5). Mosquitto reads both again on SIGHUP.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from gossamer.wire.topics import Topics

HASH_ITERATIONS = 101
"""Mosquitto's own default. The passwords here are 128 random bits, which no number of iterations could make safer."""
SALT_BYTES = 12
PASSWORD_BYTES = 16
SERVER_ACCOUNT = "gossamer-server"


def new_password() -> str:
    """Return a random password of 128 bits that needs no quoting anywhere."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def account_of(device: str) -> str:
    """Return the name of a device's account: its id, but for colons, which end the name in Mosquitto's files."""
    return device.replace(":", "%3A")


def hashed(password: str, salt: bytes | None = None) -> str:
    """Return ``password`` as it stands in the password file."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ITERATIONS)
    return f"$7${HASH_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def device_rules(topics: Topics, device: str) -> list[str]:
    """Return the ACL lines of a device: its own two topics up, its own and the shared ones down."""
    up = [f"topic write {topics.device_topic(kind, device)}" for kind in ("u", "s")]
    own = [f"topic read {topics.device_topic('a', device)}"]
    shared = [f"topic read {topics.shared_topic(kind)}" for kind in ("m", "c", "h")]
    return [f"user {account_of(device)}", *up, *own, *shared]


def server_rules(topics: Topics) -> list[str]:
    """Return the ACL lines of the server's own account."""
    reads = [f"topic read {topics.subscription(kind)}" for kind in ("u", "s")]
    writes = [f"topic write {topics.subscription('a')}"]
    writes += [f"topic write {topics.shared_topic(kind)}" for kind in ("m", "c", "h")]
    return [f"user {SERVER_ACCOUNT}", *reads, *writes]


def set_password(path: Path, user: str, password: str | None) -> None:
    """Set the password of ``user`` in the file, or remove the user when ``password`` is None."""
    kept = [line for line in _lines(path) if line.split(":", 1)[0] != user]
    if password is not None:
        kept.append(f"{user}:{hashed(password)}")
    write_private(path, "".join(f"{line}\n" for line in kept))


def set_rules(path: Path, user: str, rules: list[str]) -> None:
    """Set the ACL block of ``user``, or remove it when ``rules`` is empty."""
    blocks: list[list[str]] = []
    for line in _lines(path):
        if line.startswith("user ") or not blocks:
            blocks.append([])
        if line:
            blocks[-1].append(line)
    blocks = [block for block in blocks if block and block[0] != f"user {user}"]
    if rules:
        blocks.append(rules)
    write_private(path, "\n\n".join("\n".join(block) for block in blocks) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
