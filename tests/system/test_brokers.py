"""The same run over Mosquitto, over Mosquitto with TLS, and over the embedded broker: the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import mosquitto
from tests.system.demo_runs import run_demo

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

OPTIONS = ("--rounds", "8", "--seed", "5")


def test_every_broker_leads_to_the_same_model(tmp_path: Path):
    embedded = run_demo(tmp_path / "embedded", *OPTIONS)
    again = run_demo(tmp_path / "again", *OPTIONS)
    with mosquitto(tmp_path / "plain") as broker:
        plain = run_demo(tmp_path / "mosquitto", *OPTIONS, "--broker", f"mqtt://127.0.0.1:{broker.port}")
    with mosquitto(tmp_path / "tls", tls=True) as broker:
        authority = str(tmp_path / "tls" / "broker.crt")
        secure = run_demo(
            tmp_path / "mosquitto-tls", *OPTIONS, "--broker", f"mqtts://127.0.0.1:{broker.port}",
            "--ca-file", authority,
        )  # fmt: skip
    digests = {run["model_digest"] for run in (embedded, again, plain, secure)}
    assert len(digests) == 1
    assert plain["payload_bytes_up"] == embedded["payload_bytes_up"]
    assert secure["ip_bytes_by_cause"]["TLS"] > 0 == plain["ip_bytes_by_cause"]["TLS"]


def test_another_seed_is_another_model(tmp_path: Path):
    one = run_demo(tmp_path / "one", "--rounds", "2", "--seed", "1")
    two = run_demo(tmp_path / "two", "--rounds", "2", "--seed", "2")
    assert one["model_digest"] != two["model_digest"]
