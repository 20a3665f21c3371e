"""The fleet's key: made once, private, read back or refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gossamer.errors import ConfigError
from gossamer.fleet.keys import load_key, make_key, public_hex


def test_there_and_back(tmp_path: Path) -> None:
    made = make_key(tmp_path / "deep" / "fleet.key")
    assert stat.S_IMODE((tmp_path / "deep" / "fleet.key").stat().st_mode) == 0o600
    assert public_hex(load_key(tmp_path / "deep" / "fleet.key")) == public_hex(made)
    with pytest.raises(ConfigError, match="never overwritten"):
        make_key(tmp_path / "deep" / "fleet.key")


def test_what_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gossamer fleet init"):
        load_key(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigError, match="PEM"):
        load_key(tmp_path / "text")
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "p256").write_bytes(pem)
    with pytest.raises(ConfigError, match="an Ed25519 key is expected"):
        load_key(tmp_path / "p256")
    with pytest.raises(ConfigError):
        load_key(tmp_path)
