"""``job export``: the trainer's own arrays, and a card that says how they came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.aggregator.cards import SECTIONS, as_markdown, model_card
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.jobs import ClosingSettings
from gossamer.aggregator.privacy import PrivacySettings
from gossamer.aggregator.status import JobStatus, Totals
from gossamer.compression.lattice import from_lattice
from gossamer.compression.layout import Layout

from .command import Run
from .jobs import sealed, trained

SHAPES = [(24, 10), (10,), (10, 4), (4,)]
PUNCTUAL = ClosingSettings(max_lag=0, at_deadline="extend")


def exported(run: Run, state: Path, tmp_path: Path) -> tuple[list[Any], dict[str, Any]]:
    assert run("job", "export", "test", "m.npz", "--state", state).code == 0
    with np.load(tmp_path / "m.npz", allow_pickle=False) as stored:
        arrays = [stored[name] for name in stored.files]
    return arrays, json.loads((tmp_path / "m.card.json").read_text())


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"method": "scafcom:0.5/0.3", "codec_up": "topk:0.2/fp16", "closing": PUNCTUAL},
        {"method": "scallion:0.5/0.3", "codec_up": "rot4", "closing": PUNCTUAL},
        {"method": "scafflix:0.7/0.5/1.0", "codec_up": "fp32", "closing": PUNCTUAL, "cohorts": 1},
        {"method": "locodl:0.5/1.0/0.5/0.02", "codec_up": "rot4", "closing": PUNCTUAL, "cohorts": 1},
        {"method": "marina:2.0/0.5", "participation": "marina", "codec_up": "rot4", "codec_down": "fp32",
         "closing": PUNCTUAL},
    ],
    ids=lambda changes: changes.get("method", "fedavg"),
)  # fmt: skip
def test_the_export_is_what_the_trainer_knows(run: Run, tmp_path: Path, changes: dict[str, Any]) -> None:
    state, whole = trained(run, tmp_path, rounds=4, **changes)
    arrays, card = exported(run, state, tmp_path)
    assert [array.shape for array in arrays] == SHAPES
    assert all(array.dtype == np.float32 for array in arrays)
    assert card["parameters"] == sum(array.size for array in arrays) == 294
    assert [tuple(each["shape"]) for each in card["arrays"]] == SHAPES
    assert card["method"] == whole.settings.method
    moved = [a - b for a, b in zip(arrays, whole.trainers[0].initial(whole.settings.seed), strict=True)]
    assert max(float(np.abs(each).max()) for each in moved) > 0.0
    # As good as anything can be checked from outside: the exported weights are nearer to where the devices pull.
    assert accuracy(whole, arrays) > accuracy(whole, whole.trainers[0].initial(whole.settings.seed))


def accuracy(whole: Any, arrays: list[Any]) -> float:
    return float(np.mean([trainer.evaluate(arrays)["accuracy"] for trainer in whole.trainers]))


def test_a_plain_export_has_the_bits_of_the_shared_model(run: Run, tmp_path: Path) -> None:
    state, whole = trained(run, tmp_path, rounds=2)
    arrays, card = exported(run, state, tmp_path)
    store = type(whole.store).open(state / "store.db")
    whole.store = store
    model = whole.model()
    store.close()
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    assert flat.tobytes() == from_lattice(model.weights).tobytes()
    assert card["model_digest"] == model.digest.hex()


def test_cards_beside_the_model(run: Run, tmp_path: Path) -> None:
    state = sealed(run, tmp_path)
    told = json.loads(run("job", "export", "test", "out.v2.npz", "--state", state, "--json").out)
    assert told["card"] == "out.v2.card.json, out.v2.card.md"
    card = json.loads((tmp_path / "out.v2.card.json").read_text())
    assert (card["name"], card["version"], card["model_digest"]) == ("test", 4, told["model_digest"])
    assert (card["rounds_done"], card["rounds_planned"], card["devices"], card["updates_counted"]) == (4, 4, 4, 8)
    assert (card["rule"], card["codec_up"], card["participation"]) == ("mean", "q8", "reshuffled")
    assert card["privacy"] is None
    assert card["date"].startswith("20")
    assert (tmp_path / "out.v2.card.md").read_text() == as_markdown(card)
    for name, first in (("one.json", "{"), ("one.md", "# test, version 4")):
        told = json.loads(run("job", "export", "test", "m.npz", "--card", name, "--state", state, "--json").out)
        assert told["card"] == name
        assert (tmp_path / name).read_text().startswith(first)
    assert not (tmp_path / "m.card.json").exists()
    assert not list(tmp_path.glob("*.partial"))


def status(**changes: Any) -> JobStatus:
    settings = JobSettings("a|b", 1, "t", seed=5, rounds=10, cohorts=5, codec_up="q8", codec_down="q8", **changes)
    totals = Totals(4, 7, 1, {"too-large": 2}, 0, 900, 300)
    layout = Layout((("kernel", (2, 3)), ("bias", (3,)), ("scale", ())))
    return JobStatus(settings, "open", 4, 4, 0.0, 0, 20, layout, totals, ())


def test_the_card_is_pure_and_its_page_holds_all_of_it() -> None:
    card = model_card(status(), "0f" * 16, "2026-01-02T03:04:05Z")
    assert json.loads(json.dumps(card)) == card
    assert (card["updates_counted"], card["updates_late"], card["updates_rejected"]) == (8, 1, {"too-large": 2})
    page = as_markdown(card)
    assert page.startswith("# a\\|b, version 4\n")
    for word in ("0f" * 16, "2026-01-02T03:04:05Z", "| devices in the fleet | 20 |", "too-large: 2", "kernel", "2 x 3"):
        assert word in page
    assert "The model may tell of single devices' data" in page
    shown = {key for names in SECTIONS.values() for key in names}
    assert shown == set(card) - {"card", "name", "fleet", "arrays", "privacy"}
    assert all(line.count("|") - line.count("\\|") == 3 for line in page.splitlines() if line.startswith("|"))


def test_the_card_of_a_private_job_has_its_statement_and_no_more() -> None:
    private = PrivacySettings(8.0, 1e-5, 0.5, 9.0)
    card = model_card(status(privacy=private), "0f" * 16, "today")
    statement = card["privacy"]
    assert (statement["releases_done"], statement["rounds_done"], statement["epsilon_budget"]) == (1, 4, 8.0)
    assert card["updates_rejected"] is None
    page = as_markdown(card)
    assert f"Epsilon {statement['epsilon_spent']:.6g} of 8 spent at delta 1e-05" in page
    for word in ("rejected", "may tell of single"):
        assert word not in page
    for each in statement["not_protected"]:
        assert f"* {each}" in page
