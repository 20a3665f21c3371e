"""What a person sees: pure text from figures, a line every few rounds where there is no terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from gossamer.demo import display
from gossamer.demo.display import Display, Progress, duration, envelope_table, farewell, panel, result_table, sparkline
from gossamer.demo.figures import Figures, Point

PROGRESS = Progress(
    round=3, rounds=10, cohort=(0, 1), counted=(1,), devices=4, attackers=(), payload_up=1000, payload_down=1000,
    parameters=100, rejected=0, restarts=0, seconds=2.4, points=(Point(2, 0.5, 2000, 0.6, 9000),), participations=10,
)  # fmt: skip
FIGURES = Figures(
    data="watch", seed=3, devices=10, cohorts=2, rounds=20, codec="rot1", codec_down="rot1", rule="mean", attackers=2,
    attack="shift-back", broker="embedded", parameters=100, test_windows=900, accuracy=0.9, accuracy_fp32=0.92,
    payload_bytes_up=400, payload_bytes_down=600, fp32_payload_bytes=40_000, fp32_rounds=18, ip_bytes=5000,
    ip_bytes_by_cause={"bodies": 4000, "MQTT": 1000}, updates=100, rejected=0, rejected_by_reason={}, restarts=0,
    model_digest="0f" * 16, seconds=1.0,
)  # fmt: skip


def text(drawn: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160).print(drawn)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (95, "1 min 35 s"), (3600, "1 h 0 min"), (7300, "2 h 1 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([-1.0, 2.0]) == "▁█", "what is out of range is drawn at its end"
    long = sparkline([i / 999 for i in range(1000)])
    assert (len(long), long[0], long[-1]) == (display.SPARK_WIDTH, "▁", "█")


def test_the_panel() -> None:
    shown = text(panel(PROGRESS))
    for words in ("3 of 10", "50.0%", "fp32 after as many rounds 60.0%", "under fp32 by 4x", " ◐  ●  ○  ○ "):
        assert words in shown
    assert "attackers" not in shown
    troubled = text(panel(replace(PROGRESS, attackers=(3,), rejected=5, restarts=1, points=())))
    for words in ("1 attackers among", "5 messages rejected", "1 processes died"):
        assert words in troubled
    assert "accuracy" not in troubled
    assert replace(PROGRESS, payload_up=0, payload_down=0).ratio == 8000


def test_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=160), line_every_rounds=5)
    with shown.running():
        shown.show(replace(PROGRESS, round=0, points=()))
        for number in range(1, 13):
            shown.show(replace(PROGRESS, round=number))
            shown.show(replace(PROGRESS, round=number))
    lines = stream.getvalue().splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["round   4", "round   9"]


def test_a_live_panel_on_a_terminal() -> None:
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=160, force_terminal=True))
    with shown.running():
        shown.show(PROGRESS)
        shown.say("hello")
    assert shown.live is None
    assert "hello" in stream.getvalue()


def test_the_tables_at_the_end() -> None:
    table = text(result_table(FIGURES))
    for words in ("900 held-out", "90.0%", "92.0%", "-2.0 points", "40x less", "18 to the same", "(shift-back)"):
        assert words in table
    assert "attackers" not in text(result_table(replace(FIGURES, attackers=0)))
    envelope = text(envelope_table(FIGURES))
    assert "40" in envelope
    assert "bodies" in envelope
    end = text(farewell(FIGURES, Path("p.png"), Path("f.json")))
    for words in ("p.png", "f.json", FIGURES.model_digest, "seed 3"):
        assert words in end
    assert "figures " not in text(farewell(FIGURES, None, None))


def test_what_is_suggested_would_run() -> None:
    """Commands in the farewell have options that exist and values that are accepted."""
    import shlex

    import typer

    from gossamer.cli.app import app
    from gossamer.compression import codec
    from gossamer.demo.attacker import check_attack

    demo = typer.main.get_command(app).commands["demo"]
    commands = [line for line in text(farewell(FIGURES, None, None)).splitlines() if "gossamer demo" in line]
    assert len(commands) == 3
    for line in commands:
        given = demo.make_context("demo", shlex.split(line)[2:]).params
        if given["attackers"]:
            check_attack(given["attack"])
        if given["codec"]:
            codec(given["codec"])
    for spec in ("sign", "q4", "topk:0.02/q4", "fp32"):
        codec(spec)
