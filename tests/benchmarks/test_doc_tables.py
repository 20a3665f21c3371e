"""docs/compression.md says what the registry, the results and the settings say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import doc_tables
from benchmarks.doc_tables import BLOCK, DIGESTS, PAGE, TABLES, filled, markdown
from gossamer.agent import config
from gossamer.aggregator.automatic import decided
from gossamer.aggregator.jobs import JobSettings
from gossamer.compression.adaptive import LOOK_AGAIN, WORTHWHILE
from gossamer.compression.auto import DEVICE_CODECS, EPOCHS, FREE_SECONDS, GENEROUS, JobFacts
from gossamer.compression.codecs import REGISTRY, codec
from gossamer.compression.layout import Layout
from gossamer.compression.memory import memory
from gossamer.compression.plan import MAX_BASIS
from gossamer.compression.priors import SMOOTH_ROWS
from tests.system.test_hist_digests import ARM_KERNELS, KERNELS

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

TEXT = PAGE.read_text()
DECISIONS = PAGE.parent / "decisions"


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table whose heading begins with this column."""
    lines = TEXT.split(f"\n| {heading} |", 1)[1].splitlines()[2:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


# -- the tables that are filled ----------------------------------------------------------------------------


def test_the_tables_are_what_the_results_say() -> None:
    assert filled(TEXT) == TEXT, "run `python -m benchmarks.doc_tables`"
    assert {block[2] for block in BLOCK.finditer(TEXT)} == set(TABLES)


def test_results_that_are_not_there_are_named_by_their_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_tables, "RESULTS", tmp_path)
    page = filled("before\n<!-- table: accuracy -->\nold\n<!-- end -->\nbehind\n")
    assert page.startswith("before\n<!-- table: accuracy -->\n*Not measured yet: `python benchmarks/bytes_to")
    assert page.endswith("<!-- end -->\nbehind\n")
    assert filled(page) == page


def test_auto_stands_beside_the_best_fixed_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_tables, "RESULTS", tmp_path)

    def run(name: str, wire: int, reached: bool = True) -> dict[str, object]:
        ratios = dict.fromkeys(("ratio_vanilla", "ratio_tuned", "wire_ratio_vanilla", "wire_ratio_tuned"), 12.3)
        return {"federation": "digits", "codec": name, "seed": 3, "reached": reached, "rounds": 9, "accuracy": 0.97,
                "payload_up": wire // 4, "payload_down": wire // 4, "wire_bytes": wire, **ratios}  # fmt: skip

    found = [run("vanilla", 500), run("ternary:0.01", 20_000), run("hist:0.01", 30_000), run("auto", 21_000)]
    (tmp_path / "bytes_to_accuracy.json").write_text(json.dumps([*found, run("sign", 10_000, reached=False)]))
    assert "| digits | 1/1 | 9 | 21.0 | `ternary:0.01` | 9 | 20.0 | +5% |" in doc_tables.auto_against_best()
    accuracy = doc_tables.accuracy()
    assert "| digits | `auto` | 1/1 | 9 | 5.2 | 5.2 | 10.5 |  | 21.0 | 12x |" in accuracy
    assert "| digits | `sign` | 0/1 |" in accuracy
    assert "![" not in accuracy  # no picture there


def test_a_table_has_as_many_cells_as_headings() -> None:
    assert markdown(["a", "b"], [["x", None]]) == "| a | b |\n| --- | ---: |\n| x |  |\n"
    for name, table in TABLES.items():
        lines = [line for line in doc_tables._made(table).splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, name


def test_the_digests_are_those_of_the_tests() -> None:
    listed = {row[0]: row[1].strip("`") for row in rows("what")}
    assert listed == json.loads(DIGESTS.read_text())
    tried = {row[1]: row[2] for row in rows("machine")}
    assert tried == {**dict.fromkeys(KERNELS, "1, 2"), **dict.fromkeys(ARM_KERNELS, "1")}


# -- the tables and texts that are written -----------------------------------------------------------------


def test_every_method_is_explained() -> None:
    table = {row[0].strip("`"): row for row in rows("method")}
    assert set(table) == {method.name for method in REGISTRY.methods}
    for name, (_, spec, residual, _) in table.items():
        encoder = codec(spec.strip("`"))
        assert encoder.method == name
        assert residual == ("yes" if encoder.uses_residual else "no"), name


def test_every_codec_that_is_named_exists() -> None:
    names = {method.name.split("/")[0] for method in REGISTRY.methods}
    for spec in re.findall(r"`([a-z0-9]+:[0-9.]+[@/a-z0-9]*)`", TEXT):
        if spec.split(":")[0] in names:
            assert codec(spec).spec == spec
        else:
            assert memory(spec).spec == spec
    assert {row[0].strip("`").split(":")[0] for row in rows("`memory`")} == {"ef14", "ef21", "ef21-sgdm"}


def test_the_job_of_the_page_is_decided() -> None:
    text = re.search(r"```toml\n# auto.toml\n(.*?)```", TEXT, re.DOTALL)[1]
    settings = JobSettings.from_mapping({"fleet": "farm1", "job": 1, "seed": 0, **tomllib.loads(text)})
    chosen, choice = decided(settings, Layout((("0", (64, 128)), ("1", (128,)))), devices=10)
    assert choice is not None
    assert (chosen.device_choice, chosen.fit.batch_size) == (True, 8)
    assert chosen.fit.learning_rate == 0.1
    fit = re.search(r"```toml\n(\[fit\]\nlocal_epochs.*?)```", TEXT, re.DOTALL)[1]
    assert JobSettings.from_mapping({**settings.to_mapping(), **tomllib.loads(fit)}).fit.adaptive


def test_the_agents_settings_of_the_page_exist() -> None:
    text = re.search(r"```toml\n# the agent's configuration\n(.*?)```", TEXT, re.DOTALL)[1]
    link = tomllib.loads(text)["link"]
    assert set(link) == set(config.defaults()["link"])
    for name in ("fit_timeout_seconds", "fit_joules", "fit_watts"):
        assert name in config.defaults()
        assert name in TEXT


def test_the_constants_in_the_text() -> None:
    assert [e for e in EPOCHS if e <= JobFacts(((1,),)).most_epochs] == [1, 2, 4, 8]
    assert f"take {FREE_SECONDS:.0f} seconds or less**: `{GENEROUS}`" in TEXT
    assert DEVICE_CODECS == ("rot4:ls", "ternary:0.2", "hist:0.2")
    assert f"rises by {100 * WORTHWHILE:.0f} % or more" in TEXT
    assert f"stays for {LOOK_AGAIN} participations" in TEXT
    assert f"more than {MAX_BASIS:,} outputs" in TEXT
    assert f"only the {SMOOTH_ROWS} smoothest" in re.sub(r"\s+", " ", TEXT)


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (DECISIONS / "README.md").read_text())
    files = sorted(DECISIONS.glob("0*.md"))
    assert listed == [file.name for file in files]
    index = (DECISIONS / "README.md").read_text()
    for number, file in enumerate(files, start=1):
        title = file.read_text().splitlines()[0]
        assert title.startswith(f"# {number}. "), file.name
        if number > 6:
            assert title.removeprefix(f"# {number}. ") in index, file.name
