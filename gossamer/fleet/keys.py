"""Ed25519 key files: PEM (PKCS #8, unencrypted), readable by their owner only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossamer.errors import ConfigError
from gossamer.fleet.mosquitto import write_private


def private_pem(key: Ed25519PrivateKey) -> str:
    """Return the private key as PEM text."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public_hex(key: Ed25519PrivateKey) -> str:
    """Return the public key as 64 hexadecimal digits, the form configuration files carry."""
    return public_raw(key.public_key()).hex()


def public_raw(key: Ed25519PublicKey) -> bytes:
    """Return the public key as its 32 bytes (``public_bytes_raw()``, which Debian 12's cryptography 38 lacks)."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def fingerprint(public: bytes) -> str:
    """Return the first 16 bytes of the SHA-256 of a raw public key, in groups that can be read out over a telephone.

    >>> fingerprint(bytes(32))
    '66687aad f862bd77 6c8fc18b 8e9f8e20'
    """
    digits = hashlib.sha256(public).hexdigest()[:32]
    return " ".join(digits[at : at + 8] for at in range(0, 32, 8))


def make_key(path: Path) -> Ed25519PrivateKey:
    """Make a new key and write it to ``path``.

    Raises:
        ConfigError: the file exists; a fleet that loses its key cannot be talked to any more.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; a key is never overwritten. Move it away first.")
    key = Ed25519PrivateKey.generate()
    write_private(path, private_pem(key))
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        ConfigError: no such file, or not an Ed25519 key in PEM form.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as missing:
        raise ConfigError(f"no key at {path}; `gossamer fleet init` makes one") from missing
    except (OSError, ValueError, TypeError) as unreadable:
        raise ConfigError(f"{path} cannot be read as an unencrypted PEM key: {unreadable}") from unreadable
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a {type(key).__name__}; an Ed25519 key is expected")
    return key
