"""What is shown, on a terminal and in a log."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from gossamer.project.judging import Verdict
from gossamer.project.progress import MARKS, Display, Progress, line, panel

PROGRESS = Progress(
    round=3, rounds=20, cohort=(0, 2), counted=(2,), devices=4, updates=6, payload_up=1500, payload_down=2500,
    losses=(0.9, 0.5), verdicts=(Verdict(1, 0.5, 90), Verdict(3, 0.875, 90)), rejected=0, restarts=0, seconds=65.0,
)  # fmt: skip


def shown(progress: Progress) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    console.print(panel("pumps", progress))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_line() -> None:
    assert line(PROGRESS) == (
        "round 3 of 20, accuracy 87.5%, loss 0.5000, 6 updates, up 1.5 kB, down 2.5 kB, 1 min 5 s"
    )
    early = dataclasses.replace(PROGRESS, verdicts=(), losses=(), payload_down=None, rejected=2, restarts=1)
    assert line(early) == (
        "round 3 of 20, 6 updates, up 1.5 kB, 1 min 5 s, 2 rejected, 1 processes died and were started again"
    )


def test_an_accuracy_that_is_some_rounds_old_says_so() -> None:
    slow = dataclasses.replace(PROGRESS, verdicts=(Verdict(1, 0.5, 90),))
    assert line(slow).startswith("round 3 of 20, accuracy 50.0% after round 1, loss")
    assert "50.0% after round 1" in shown(slow)


def test_the_panel() -> None:
    told = shown(PROGRESS)
    for expected in ("pumps", "3 of 20", "87.5%", "0.5000, 0.9000 in the first round", " ○  ○  ●  ○ ".strip(" ○")):
        assert expected in told
    assert told.count("●") == 2  # the device, and the legend
    assert told.count("◐") == 2
    many = dataclasses.replace(PROGRESS, devices=MARKS + 1)
    assert f"1 of the 2 in this round; {MARKS + 1} in all" in shown(many)


def test_a_log_has_a_line_for_every_tenth() -> None:
    console = Console(file=io.StringIO(), width=200)
    display = Display(console, "pumps")
    with display.running():
        for number in range(101):
            for _ in range(3):
                display.show(dataclasses.replace(PROGRESS, round=number, rounds=100))
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [each.split()[1] for each in told] == ["1", *(str(number) for number in range(10, 101, 10))]
