"""``job show``, ``job list`` and ``job metrics``: where a job stands."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import pytest

from gossamer.aggregator.exposition import FAMILIES, metrics_text, sample
from gossamer.aggregator.privacy import PrivacySettings, plan
from gossamer.aggregator.status import UNLISTED, Totals

from .command import Run
from .jobs import BAD, Spoilt, sealed

PRIVATE = plan(
    PrivacySettings(epsilon=8.0, delta=1e-5, clip_norm=1.0), rounds=4, cohorts=2, participation="reshuffled"
).settings

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> tuple[Samples, dict[str, str]]:
    """A second reading of the text format 0.0.4: samples by name and labels, and types of families.

    Refuses what Prometheus refuses: a family in pieces, a second HELP or TYPE, a sample twice, a bad name or number.
    """
    assert text.endswith("\n") or not text
    samples: Samples = {}
    kinds: dict[str, str] = {}
    helped: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped
            helped.append(name)
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped[-1]
            assert name not in kinds
            assert kind in ("counter", "gauge")
            kinds[name] = kind
            continue
        found = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert found, line
        name, inside, number = found.groups()
        assert name == helped[-1], "samples stand under their family"
        pairs = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)', inside or "")
        assert ",".join(f'{key}="{value}"' for key, value in pairs) == (inside or ""), line
        labels = tuple((k, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), v)) for k, v in pairs)
        assert (name, labels) not in samples
        samples[name, labels] = float(number)
        assert math.isfinite(samples[name, labels])
    return samples, kinds


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple({"job": "test", **labels}.items())]


def test_show_says_what_the_rounds_came_to(run: Run, tmp_path: Path) -> None:
    state = sealed(run, tmp_path, kind=Spoilt, until=3, rule="median", codec_up="fp32")
    told = json.loads(run("job", "show", "test", "--state", state, "--json").out)
    assert (told["state"], told["round"], told["rounds"], told["model_version"]) == ("open", 3, 4, 3)
    assert (told["rule"], told["method"], told["memory"], told["participation"]) == (
        "median", "fedavg", "ef14", "reshuffled",
    )  # fmt: skip
    assert (told["parameters"], told["devices"]) == (300, 4)
    assert told["privacy"] is None
    assert told["settings"]["closing"]["max_lag"] == 4
    spoilt = [row for row in told["rounds_shown"] if row["rejected"]]
    assert [row["round"] for row in told["rounds_shown"]] == [0, 1, 2]
    assert all(row["rejected"] == {"too-large": 1} for row in spoilt)
    assert spoilt, f"{BAD} takes part in every cycle"
    assert told["updates_rejected"] == {"too-large": len(spoilt)}
    assert told["updates_counted"] == 6 - len(spoilt)
    assert told["body_bytes"] == sum(row["body_bytes"] for row in told["rounds_shown"]) > 6 * 1200
    shown = run("job", "show", "test", "--state", state, "--last", "1")
    assert (shown.code, shown.err) == (0, "")
    assert "attackers in less than half of a cohort" in shown.out
    assert "epsilon" not in shown.out
    assert json.loads(run("job", "show", "test", "--state", state, "--last", "1", "--json").out)["rounds_shown"] == (
        told["rounds_shown"][-1:]
    )
    run("job", "show", "gate", "--state", state).refused("no job 'gate'", "job list")


def test_a_shortfall_is_shown(run: Run, tmp_path: Path) -> None:
    changes = {"rule": "trimmed-mean:1", "cohorts": 1, "size": 3, "codec_up": "fp32"}
    state = sealed(run, tmp_path, kind=Spoilt, until=2, **changes)
    told = json.loads(run("job", "show", "test", "--state", state, "--json").out)
    assert [row["shortfall"] for row in told["rounds_shown"]] == [
        "trimmed-mean:1 needs 3 usable updates, has 2"
    ] * 2
    assert told["rounds_short"] == 2
    assert "needs 3 usable updates" in run("job", "show", "test", "--state", state).out


def test_before_the_first_round(run: Run, tmp_path: Path) -> None:
    state = sealed(run, tmp_path, until=0)
    assert "no round is sealed yet" in run("job", "show", "test", "--state", state).out
    samples, _ = parse(run("job", "metrics", "--state", state).out)
    assert of(samples, "gossamer_job_rounds_total") == 0
    assert ("gossamer_rule_radius", (("job", "test"),)) not in samples


def test_a_private_job_tells_what_is_spent(run: Run, tmp_path: Path) -> None:
    state = sealed(run, tmp_path, until=2, privacy=PRIVATE)
    told = json.loads(run("job", "show", "test", "--state", state, "--json").out)
    privacy = told["privacy"]
    assert told["rule"].startswith("private-mean:1.0/")
    assert "pull of each to 1" in told["tolerates"]
    assert (privacy["rounds_done"], privacy["releases_done"], privacy["releases_planned"]) == (2, 1, 2)
    assert 0.0 < privacy["epsilon_spent"] < privacy["epsilon_budget"] == 8.0
    assert "epsilon spent" in run("job", "show", "test", "--state", state).out
    (row,) = json.loads(run("job", "list", "--state", state, "--json").out)
    assert row["epsilon"] == f"{privacy['epsilon_spent']:.3g}/8"
    samples, kinds = parse(run("job", "metrics", "test", "--state", state).out)
    assert of(samples, "gossamer_privacy_epsilon_spent") == privacy["epsilon_spent"]
    assert of(samples, "gossamer_privacy_epsilon_budget") == 8.0
    assert of(samples, "gossamer_privacy_may_release") == 1
    assert kinds["gossamer_privacy_epsilon_spent"] == "gauge"


def test_a_list_does_not_need_the_accountant(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = sealed(run, tmp_path, until=1, privacy=PRIVATE)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    (row,) = json.loads(run("job", "list", "--state", state, "--json").out)
    assert row["epsilon"] == "?/8"
    run("job", "show", "test", "--state", state).refused("dp-accounting", "gossamer[privacy]")


def test_the_list_of_public_jobs_has_no_such_column(run: Run, tmp_path: Path) -> None:
    (row,) = json.loads(run("job", "list", "--state", sealed(run, tmp_path, until=1), "--json").out)
    assert list(row) == ["name", "job", "state", "round", "rounds", "model_version", "updates_in", "since"]


def test_metrics_are_the_figures_of_show(run: Run, tmp_path: Path) -> None:
    state = sealed(run, tmp_path, kind=Spoilt, until=3, rule="norm-clip", codec_up="fp32")
    told = json.loads(run("job", "show", "test", "--state", state, "--json").out)
    samples, kinds = parse(run("job", "metrics", "test", "--state", state).out)
    assert set(kinds) <= set(FAMILIES)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    for name, key in (("body_bytes", "update_body_bytes_total"), ("step_bytes", "step_bytes_total"),
                      ("model_version", "job_model_version"), ("devices", "job_devices"),
                      ("rounds", "job_rounds_planned"), ("parameters", "job_parameters")):  # fmt: skip
        assert of(samples, f"gossamer_{key}") == told[name], name
    assert of(samples, "gossamer_updates_counted_total", when="on-time") == told["updates_counted"]
    assert of(samples, "gossamer_updates_counted_total", when="late") == 0
    assert of(samples, "gossamer_updates_rejected_total", reason="too-large") == told["updates_rejected"]["too-large"]
    assert of(samples, "gossamer_rule_radius") == told["rounds_shown"][-1]["radius"] > 0
    states = {labels: value for (name, labels), value in samples.items() if name == "gossamer_job_state"}
    assert sum(states.values()) == 1
    assert of(samples, "gossamer_job_state", state="open") == 1
    assert not [name for name, _ in samples if name.startswith("gossamer_privacy")]
    run("job", "metrics", "gate", "--state", state).refused("no job 'gate'")


def test_labels_are_escaped_and_refusals_counted() -> None:
    assert sample("a", {}, 1) == "a 1"
    samples, _ = parse(metrics_text([], {'a "b" \\ \n': 3, "unsigned": 2}))
    assert samples["gossamer_messages_refused_total", (("reason", 'a "b" \\ \n'),)] == 3
    assert metrics_text([], {}) == ""


def report(on_time: int, late: int, rejected: int, lags: tuple[int, ...]) -> dict[str, object]:
    """A round's report whose first devices were rejected, with these lags; ``rejected`` may be more than are listed."""
    devices = [{"reason": "too-large", "lag": lag} for lag in lags] + [{"reason": "", "lag": 0}]
    counts = {"on_time": on_time, "late": late, "rejected": rejected, "body_bytes": 5, "step_bytes": 2}
    return {**counts, "devices": devices, "shortfall": ""}


def test_sums_tell_late_from_on_time_and_never_fall_below_nothing() -> None:
    one = Totals().plus(report(5, 3, 3, (0, 1, 2)))
    assert (one.on_time, one.late, one.updates, one.rejected) == (4, 1, 5, {"too-large": 3})
    two = one.plus(report(2, 1, 0, ()))
    assert (two.rounds, two.on_time, two.late, two.body_bytes, two.step_bytes) == (2, 6, 2, 10, 4)
    claimed = Totals().plus(report(2, 0, 1, (3,)))
    assert (claimed.on_time, claimed.late) == (1, 0), "it lagged, but came in its own round"
    carried = Totals().plus(report(0, 2, 1, (0,)))
    assert (carried.on_time, carried.late) == (0, 1)
    many = Totals().plus(report(300, 0, 250, (0,) * 200))
    assert many.rejected == {"too-large": 200, UNLISTED: 50}
    assert many.on_time == 50
