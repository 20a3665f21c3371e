"""What a person sees while `gossamer train` runs (rich; plain lines where there is no terminal)."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossamer.demo.display import SPARK_WIDTH, LivePanel, duration, sparkline
from gossamer.demo.plot import human_bytes
from gossamer.project.judging import Verdict

MARKS = 40
"""Devices that are shown as a mark each; of a larger fleet the counts are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One look. ``payload_down`` and ``ip_bytes`` None: the devices are elsewhere, and only they know."""

    round: int
    rounds: int
    cohort: tuple[int, ...]
    counted: tuple[int, ...]
    devices: int
    updates: int
    payload_up: int
    payload_down: int | None
    losses: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    rejected: int
    restarts: int
    seconds: float


def fleet_line(progress: Progress) -> Text:
    """One mark for each device: who is in the round's cohort, whose update has been counted."""
    if progress.devices > MARKS:
        return Text(f"{len(progress.counted)} of the {len(progress.cohort)} in this round; {progress.devices} in all")
    line = Text()
    for device in range(progress.devices):
        if device in progress.counted:
            line.append(" ● ", style="bold green")
        elif device in progress.cohort:
            line.append(" ◐ ", style="bold yellow")
        else:
            line.append(" ○ ", style="dim")
    line.append("  ● counted  ◐ at work  ○ asleep until its turn", style="dim")
    return line


def panel(name: str, progress: Progress) -> RenderableType:
    """The live display."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column()
    bar = ProgressBar(total=max(1, progress.rounds), completed=progress.round, width=SPARK_WIDTH)
    grid.add_row("round", bar)
    grid.add_row("", f"{progress.round} of {progress.rounds}   {duration(progress.seconds)}")
    grid.add_row("fleet", fleet_line(progress))
    if progress.verdicts:
        grid.add_row("accuracy", Text(_accuracy(progress), style="bold cyan"))
        grid.add_row("", Text(sparkline([each.accuracy for each in progress.verdicts]), style="cyan"))
    if progress.losses:
        grid.add_row("loss", f"{progress.losses[-1]:.4f}, {progress.losses[0]:.4f} in the first round")
    grid.add_row("payload", Text(_payload(progress)))
    if notes := _notes(progress):
        grid.add_row("", Text(notes, style="yellow"))
    return Panel(grid, title=name, title_align="left", border_style="cyan", padding=(1, 2), width=96)


def line(progress: Progress) -> str:
    """The same for a log."""
    parts = [f"round {progress.round} of {progress.rounds}"]
    if progress.verdicts:
        parts.append(f"accuracy {_accuracy(progress)}")
    if progress.losses:
        parts.append(f"loss {progress.losses[-1]:.4f}")
    parts += [f"{progress.updates} updates", _payload(progress), duration(progress.seconds)]
    if notes := _notes(progress):
        parts.append(notes)
    return ", ".join(parts)


def _accuracy(progress: Progress) -> str:
    """Of the newest version that was judged, which may be some rounds old."""
    last = progress.verdicts[-1]
    of = "" if last.version == progress.round else f" after round {last.version}"
    return f"{last.accuracy:.1%}{of}"


def _payload(progress: Progress) -> str:
    down = "" if progress.payload_down is None else f", down {human_bytes(progress.payload_down)}"
    return f"up {human_bytes(progress.payload_up)}{down}"


def _notes(progress: Progress) -> str:
    notes = []
    if progress.rejected:
        notes.append(f"{progress.rejected} rejected")
    if progress.restarts:
        notes.append(f"{progress.restarts} processes died and were started again")
    return ", ".join(notes)


class Display(LivePanel):
    """Shows progress: a live panel on a terminal, a line for every tenth of the job elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console)
        self._name = name
        self._printed = -1

    def show(self, progress: Progress) -> None:
        """Bring what is shown up to date."""
        if self.live is not None:
            self.live.update(panel(self._name, progress))
            return
        tenth = progress.round * 10 // max(1, progress.rounds)
        if progress.round and tenth > self._printed:
            self._printed = tenth
            self.say(line(progress))
