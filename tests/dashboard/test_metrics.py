"""``/metrics``, read by a second parser, and the files in deploy/ that rely on it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gossamer.aggregator.exposition import CONTENT_TYPE
from gossamer.aggregator.exposition import FAMILIES as JOB_FAMILIES
from gossamer.aggregator.privacy import PrivacySettings, plan
from gossamer.aggregator.store import devices, rejections
from gossamer.dashboard.desk import Desk
from gossamer.dashboard.metrics import FAMILIES
from gossamer.errors import ConfigError
from tests.aggregator.fleets import Fleet
from tests.cli.jobs import Spoilt
from tests.cli.test_job_show import Samples, parse

from .pages import Running, advance, born, running

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BOARD = DEPLOY / "grafana" / "gossamer.json"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"rounds": 8, "rule": "median", "codec_up": "fp32"}
    with running(tmp_path_factory.mktemp("metrics"), kind=Spoilt, **settings) as found:
        advance(found.fleet, 3)
        born(found.fleet, "d1", "d2", version=3)
        with found.fleet.store.write() as db:
            devices.revoke(db, "d3")
            rejections.add(db, 'odd"reason\\', "x", "", now=3.0, known=False, count=4)
        yield found


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(labels.items())]


def test_the_figures_are_the_page_s(page: Running) -> None:
    answer = page.client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    samples, kinds = parse(answer.body.decode())
    assert set(kinds) <= {*FAMILIES, *JOB_FAMILIES}
    assert {name for name in FAMILIES if name in kinds} >= set(FAMILIES) - {"gossamer_devices_absent"}
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    assert of(samples, "gossamer_devices", state="enrolled") == 3
    assert of(samples, "gossamer_devices", state="revoked") == 1
    assert of(samples, "gossamer_devices_online") == 2
    assert of(samples, "gossamer_job_rounds_total", job="test") == 3
    assert of(samples, "gossamer_updates_rejected_total", job="test", reason="too-large") >= 1
    assert of(samples, "gossamer_messages_refused_total", reason='odd"reason\\') == 4
    assert of(samples, "gossamer_bridge_ip_bytes_total", way="up", cause="tcp") == 40
    standing = sum(value for (name, _labels), value in samples.items() if name == "gossamer_devices_standing")
    assert standing == 4


def test_without_the_accountant_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = plan(PrivacySettings(8.0, 1e-5, 1.0), rounds=4, cohorts=2, participation="reshuffled").settings
    fleet = Fleet.make(tmp_path / "s.db", privacy=private)
    advance(fleet, 1)
    desk = Desk(fleet.store, "t")
    samples, _ = parse(desk.metrics())
    assert of(samples, "gossamer_privacy_epsilon_budget", job="test") == 8.0

    def missing(*_given: object) -> None:
        raise ConfigError("privacy needs dp-accounting: pip install 'gossamer[privacy]'")

    monkeypatch.setattr("gossamer.aggregator.status.privacy_statement", missing)
    samples, kinds = parse(desk.metrics())
    assert not {name for name in kinds if "privacy" in name}
    assert of(samples, "gossamer_job_rounds_total", job="test") == 1
    shown = desk.job(1)
    assert shown is not None
    assert "gossamer[privacy]" in shown["privacy"]["unknown"]
    fleet.store.close()


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in board["panels"] if each["type"] != "row"]


def test_every_expression_of_the_board_names_metrics_that_exist() -> None:
    board = json.loads(BOARD.read_text())
    known = {*FAMILIES, *JOB_FAMILIES}
    used: set[str] = set()
    expressions = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    variables = [each for each in board["templating"]["list"] if each["type"] == "query"]
    expressions += [each["query"]["query"] for each in variables]
    for expression in expressions:
        names = set(re.findall(r"gossamer_[a-z_]+", expression))
        assert names, expression
        assert names <= known, expression
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")
        used |= names
    assert {"gossamer_job_rounds_total", "gossamer_updates_rejected_total", "gossamer_messages_refused_total",
            "gossamer_devices_online", "gossamer_devices_absent", "gossamer_ledger_spent_bytes",
            "gossamer_update_body_bytes_total", "gossamer_privacy_epsilon_spent"} <= used  # fmt: skip


def test_the_labels_that_the_board_selects_by_exist(page: Running) -> None:
    samples, _ = parse(page.client.get("/metrics").body.decode())
    labels: dict[str, set[str]] = {}
    for name, pairs in samples:
        labels.setdefault(name, set()).update(key for key, _ in pairs)
    labels |= {"gossamer_devices_absent": {"reason"}, **{n: {"job"} for n in JOB_FAMILIES if "privacy" in n}}
    for panel in panels(json.loads(BOARD.read_text())):
        for target in panel["targets"]:
            for name, inside in re.findall(r"(gossamer_[a-z_]+)\{([^}]*)\}", target["expr"]):
                asked = set(re.findall(r"([a-z_]+)\s*=~?", inside)) - {"instance"}
                assert asked <= labels[name], target["expr"]


def test_the_board_is_one_that_grafana_takes() -> None:
    board = json.loads(BOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    assert board["id"] is None
    assert board["schemaVersion"] >= 36
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & cells, panel["title"]
        cells |= mine
        assert panel["title"]
    for panel in panels(board):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_the_scrape_configuration_names_the_page_s_own_path() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:8787"]


def test_the_documentation_names_every_family() -> None:
    text = (DEPLOY.parent / "docs" / "page.md").read_text()
    for name in FAMILIES:
        assert name in text or name.replace("gossamer_ledger", "") in text, name
