"""The model files that the tests train are the recorded ones."""

from __future__ import annotations

import hashlib
import json

from tests.environments import ROOT
from tests.trainers.zoo import DATA


def test_every_file_has_its_digest_and_is_small() -> None:
    recorded = json.loads((DATA / "digests.json").read_text())
    files = sorted(DATA.glob("*.tflite"))
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == recorded
    assert (ROOT / "examples" / "digits.tflite").read_bytes() == (DATA / "digits.tflite").read_bytes()
    assert all(path.stat().st_size < 30_000 for path in files)
