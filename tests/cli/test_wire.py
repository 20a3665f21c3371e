"""``gossamer wire decode`` over the golden messages, and over what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command import Run, apart

VECTORS = Path(__file__).parents[1] / "vectors" / "wire"
GOLDEN = [
    pytest.param(table["message"], case["hex"], id=f"{table['message']}: {case['name']}")
    for table in (json.loads(file.read_text()) for file in sorted(VECTORS.glob("*.json")))
    if "cases" in table
    for case in table["cases"]
]


def test_there_are_golden_messages() -> None:
    assert len(GOLDEN) >= 15


def decode(run: Run, data: bytes) -> tuple[int, list[dict[str, object]]]:
    Path("capture").write_bytes(data)
    ended = run("wire", "decode", "capture", "--json")
    return ended.code, json.loads(ended.out)


@pytest.mark.parametrize(("message", "text"), GOLDEN)
def test_golden_messages_raw_and_in_digits(run: Run, message: str, text: str) -> None:
    code, (raw,) = decode(run, bytes.fromhex(text))
    assert (code, raw["message"], raw["bytes"], raw["topic"]) == (0, message, len(text) // 2, "")
    code, (digits,) = decode(run, text.encode() + b"\n")
    assert (code, digits) == (0, raw)
    assert "error" not in str(raw["fields"])


@pytest.mark.parametrize(("message", "text"), GOLDEN)
def test_truncated_and_malformed(run: Run, message: str, text: str) -> None:
    code, (row,) = decode(run, text[:-2].encode())
    assert (code, row["message"]) == (1, "error: incomplete"), message
    code, (row,) = decode(run, f"ff{text}".encode())
    assert (code, row["message"]) == (1, "error: malformed")


def test_lines_with_topics(run: Run) -> None:
    lines = "g1/farm1/s/9a/pump-7 070100\n\n0448112233445566778841F0\ng1/[/red]/h 090401\ng1/farm1/m \nx ff\n"
    code, rows = decode(run, lines.encode())
    assert code == 1
    assert [row["topic"] for row in rows] == ["g1/farm1/s/9a/pump-7", "", "g1/[/red]/h", "g1/farm1/m", "x"]
    kinds = ["BIRTH", "GET", "STATE", "error: incomplete", "error: malformed"]
    assert [row["message"] for row in rows] == kinds
    assert rows[0]["fields"] == "boot 1, version 0"
    table = run("wire", "decode", "capture")
    assert (table.code, table.err) == (1, "")
    assert "g1/[/red]/h" in table.out, "what came over the wire is no markup"


def test_what_is_inside_a_signature_is_shown(run: Run) -> None:
    for name, words in (("round", ("codec ternary:0.0025",)), ("offer", ("examples 640", "base_version 12"))):
        case = json.loads((VECTORS / f"{name}.json").read_text())["cases"][0]
        _, (row,) = decode(run, case["hex"].encode())
        for word in words:
            assert word in str(row["fields"])


def test_why_a_device_is_absent_is_in_words(run: Run) -> None:
    case = json.loads((VECTORS / "absent.json").read_text())["cases"][0]
    _, (row,) = decode(run, case["hex"].encode())
    assert row["fields"] == "job 3, round 17, reason 4 (battery), detail battery 12 %, wanted 30 %"


def test_files_that_cannot_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    run("wire", "decode", "empty").refused("empty is empty; expected a captured message")
    (tmp_path / "blank").write_text(" \n\n")
    run("wire", "decode", "blank").refused("blank", "expected a captured message")
    run("wire", "decode", "none").refused("cannot read none: No such file")
    run("wire", "decode", tmp_path).refused("Is a directory")


def test_text_that_is_no_hex_is_one_malformed_message(run: Run) -> None:
    code, rows = decode(run, b"hello world\n")
    assert (code, len(rows)) == (1, 1)


def test_standard_input() -> None:
    ended = apart("wire", "decode", "-", "--json", stdin=b"g1/farm1/h 090401\n")
    assert ended.code == 0
    assert json.loads(ended.out)[0]["message"] == "STATE"
    apart("wire", "decode", "-", stdin=b"").refused("expected a captured message")
