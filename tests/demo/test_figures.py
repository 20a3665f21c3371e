"""The JSON of a run: what the schema says, what the page says and what is written are one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import gossamer.demo
from gossamer.demo.bytes_by_cause import by_cause, downloaded
from gossamer.demo.figures import Figures, Point

SCHEMA: dict[str, Any] = json.loads(Path(gossamer.demo.__file__).with_name("figures.schema.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "demo.md").read_text()
FIGURES = Figures(
    data="watch", seed=0, devices=10, cohorts=2, rounds=2, codec="ternary:0.05", codec_down="ternary:0.025",
    rule="mean", attackers=0, attack="none", broker="embedded", parameters=3316, test_windows=900, accuracy=0.9,
    accuracy_fp32=0.91, payload_bytes_up=400, payload_bytes_down=600, fp32_payload_bytes=40_000, fp32_rounds=2,
    ip_bytes=5000, ip_bytes_by_cause=by_cause([]), updates=10, rejected=3,
    rejected_by_reason={"unsigned": 1, "by-rule": 2}, restarts=0, model_digest="0f" * 16, seconds=12.5,
    curve=(Point(0, 0.5, 500, 0.6, 20_000), Point(1, 0.9, 1000)),
)  # fmt: skip


def validate(document: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])
    point = SCHEMA["properties"]["curve"]["items"]
    assert set(point["required"]) == set(point["properties"]) == set(Point.__dataclass_fields__)


def test_figures_are_valid_and_complete() -> None:
    document = json.loads(FIGURES.to_json())
    validate(document)
    assert set(document) == set(SCHEMA["properties"])
    assert (document["factor"], document["schema"]) == (40.0, 1)
    assert document["seconds_at_40_kbit"] == 0.1
    assert document["seconds_at_40_kbit_fp32"] == 0.8
    assert document["curve"][1] == {
        "round": 1, "accuracy": 0.9, "payload_bytes": 1000, "accuracy_fp32": None, "fp32_payload_bytes": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"accuracy": 1.5}, {"model_digest": "xyz"}, {"data": "mnist"}, {"curve": ()}, {"updates": 0}, {"ip_bytes": 0.5},
     {"rejected_by_reason": {"unsigned": 0}}],
    ids=str,
)  # fmt: skip
def test_the_schema_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(json.loads(replace(FIGURES, **changes).to_json()))


def test_the_page_has_every_key_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(SCHEMA["properties"])


def test_the_page_names_every_cause_and_key_of_the_curve() -> None:
    lines = {line.split("`")[1]: line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| `")}
    assert set(re.findall(r"`([^`]+)`", lines["ip_bytes_by_cause"])) == set(by_cause([]))
    assert set(re.findall(r"`(\w+)`", lines["curve"])) == set(Point.__dataclass_fields__)


def test_written_whole(tmp_path: Path) -> None:
    FIGURES.write(tmp_path / "f.json")
    assert [each.name for each in tmp_path.iterdir()] == ["f.json"]
    assert (tmp_path / "f.json").read_text() == FIGURES.to_json()


def test_no_payload_is_no_division_by_zero() -> None:
    assert replace(FIGURES, payload_bytes_up=0, payload_bytes_down=0).factor == 40_000


def test_causes_are_summed_over_devices_and_ways() -> None:
    ledgers = [
        {"up/publish": 1, "down/puback": 2, "up/connect": 3, "down/tcp": 4, "up/retransmit": 5},
        {"count/up_body_bytes": 6},
        {"up/tls": 7, "up/ping": 8, "down/subscribe": 9, "count/down_body_bytes": 10, "count/up_status_bytes": 11},
        {},
    ]
    assert by_cause(ledgers) == {
        "bodies": 16, "signatures": 0, "manifests": 0, "status": 11, "MQTT": 20, "connect": 3, "TLS": 7, "TCP/IP": 9,
    }  # fmt: skip
    assert downloaded(ledgers) == 10
