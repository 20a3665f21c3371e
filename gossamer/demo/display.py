"""What a person sees while the demo runs and when it has ended (rich; plain lines when there is no terminal)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossamer.demo.figures import Figures, Point
from gossamer.demo.plot import human_bytes

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at the running fleet. Bytes are payload, summed over all devices."""

    round: int
    rounds: int
    cohort: tuple[int, ...]
    counted: tuple[int, ...]
    devices: int
    attackers: tuple[int, ...]
    payload_up: int
    payload_down: int
    parameters: int
    rejected: int
    restarts: int
    seconds: float
    points: tuple[Point, ...] = field(default=())
    participations: int = 0

    @property
    def ratio(self) -> float:
        """fp32 payload of the same participations over the payload sent."""
        fp32 = self.participations * self.parameters * 4 * 2
        return fp32 / max(1, self.payload_up + self.payload_down)


def sparkline(values: list[float], width: int = SPARK_WIDTH) -> str:
    """Draw values of 0..1 as one line of block characters, at most ``width`` wide, the newest last.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    return "".join(SPARKS[min(len(SPARKS) - 1, int(max(0.0, v) * len(SPARKS)))] for v in values)


def fleet_line(progress: Progress) -> Text:
    """Draw each device as one mark: who is asleep, who is in this round's cohort, whose update has been counted."""
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


def panel(progress: Progress) -> RenderableType:
    """Draw the live display."""
    last = progress.points[-1] if progress.points else None
    bar = ProgressBar(total=max(1, progress.rounds), completed=progress.round, width=SPARK_WIDTH)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column()
    grid.add_row("round", bar)  # alone: on a terminal a bar ends no line
    grid.add_row("", f"{progress.round} of {progress.rounds}   {progress.seconds:.0f} s")
    grid.add_row("fleet", fleet_line(progress))
    if last is not None:
        line = Text(f"{last.accuracy:.1%}", style="bold cyan")
        if last.accuracy_fp32 is not None:
            line.append(f"   fp32 after as many rounds {last.accuracy_fp32:.1%}", style="dim")
        grid.add_row("accuracy", line)
        grid.add_row("", Text(sparkline([p.accuracy for p in progress.points]), style="cyan"))
    grid.add_row(
        "payload",
        Text.assemble(
            ("up ", "dim"), human_bytes(progress.payload_up),
            ("   down ", "dim"), human_bytes(progress.payload_down),
            ("   under fp32 by ", "dim"), (f"{progress.ratio:.0f}x", "bold green"),
        ),
    )  # fmt: skip
    notes = []
    if progress.attackers:
        notes.append(f"{len(progress.attackers)} attackers among the devices")
    if progress.rejected:
        notes.append(f"{progress.rejected} messages rejected")
    if progress.restarts:
        notes.append(f"{progress.restarts} processes died and were started again")
    if notes:
        grid.add_row("", Text(", ".join(notes), style="yellow"))
    return Panel(grid, title="Gossamer", title_align="left", border_style="cyan", padding=(1, 2), width=96)


class LivePanel:
    """A terminal's live region, for whoever shows progress; elsewhere ``live`` stays None, and lines are printed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Own the terminal for the length of the ``with`` block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=4, transient=True) as self.live:
            yield
        self.live = None

    def say(self, text: str) -> None:
        """Print one line above the live panel."""
        self.console.print(text, highlight=False, soft_wrap=True)


class Display(LivePanel):
    """Shows :class:`Progress`: a live panel on a terminal, one line every few rounds elsewhere."""

    def __init__(self, console: Console, line_every_rounds: int = 5) -> None:
        super().__init__(console)
        self._line_every = line_every_rounds
        self._printed = -1

    def show(self, progress: Progress) -> None:
        """Bring what is shown up to date."""
        if self.live is not None:
            self.live.update(panel(progress))
        elif progress.points and progress.round >= self._printed + self._line_every:
            self._printed = progress.round
            self.say(
                f"round {progress.round:3d} of {progress.rounds}   accuracy {progress.points[-1].accuracy:6.1%}   "
                f"up {human_bytes(progress.payload_up):>8}   down {human_bytes(progress.payload_down):>8}   "
                f"under fp32 by {progress.ratio:.0f}x   {progress.seconds:.0f} s"
            )


def result_table(figures: Figures) -> Table:
    """Draw the table that ends the demo."""
    table = Table(title="What it took", title_justify="left", title_style="bold", header_style="dim")
    table.add_column("")
    table.add_column("Gossamer", justify="right", style="bold cyan")
    table.add_column("same training at fp32", justify="right")
    table.add_column("", justify="right", style="bold green")
    difference = (figures.accuracy - figures.accuracy_fp32) * 100
    ours, theirs = figures.payload_bytes, figures.fp32_payload_bytes
    table.add_row(
        f"accuracy on {figures.test_windows} held-out examples",
        f"{figures.accuracy:.1%}", f"{figures.accuracy_fp32:.1%}", f"{difference:+.1f} points",
    )  # fmt: skip
    table.add_row("rounds", str(figures.rounds), f"{figures.fp32_rounds} to the same accuracy", "")
    table.add_row("payload up", human_bytes(figures.payload_bytes_up), human_bytes(theirs / 2), "")
    table.add_row("payload down", human_bytes(figures.payload_bytes_down), human_bytes(theirs / 2), "")
    factor = f"{figures.factor:.0f}x less" if figures.factor >= 1 else ""
    table.add_row("payload, both ways", human_bytes(ours), human_bytes(theirs), factor)
    table.add_row("payload a device and round", human_bytes(ours / max(1, figures.updates)), "", "")
    table.add_row("IP bytes, everything counted", human_bytes(figures.ip_bytes), "", "")
    table.add_row(
        "a device's share at 40 kbit/s",
        duration(figures.seconds_on_slow_link(figures.ip_bytes)),
        f"{duration(figures.seconds_on_slow_link(theirs))} (payload alone)", "",
    )  # fmt: skip
    if figures.attackers:
        table.add_row(f"attackers ({figures.attack})", str(figures.attackers), "0", "")
    return table


def envelope_table(figures: Figures) -> Table:
    """Draw where the IP bytes of a device's round went."""
    table = Table(title="IP bytes of a device and round, by cause", title_justify="left", title_style="bold")
    for cause in figures.ip_bytes_by_cause:
        table.add_column(cause, justify="right")
    rounds = max(1, figures.updates)
    table.add_row(*(f"{count / rounds:,.0f}" for count in figures.ip_bytes_by_cause.values()))
    return table


def duration(seconds: float) -> str:
    """Return a duration as a person would say it.

    >>> duration(8.4), duration(95), duration(7300)
    ('8 s', '1 min 35 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def farewell(figures: Figures, plot: Path | None, json_file: Path | None) -> RenderableType:
    """Draw what to do next."""
    lines = Text()
    if plot is not None:
        lines.append(f"plot       {plot}\n")
    if json_file is not None:
        lines.append(f"figures    {json_file}\n")
    lines.append(f"model      {figures.model_digest}  (seed {figures.seed}: the same in every run)\n\n")
    lines.append("What next\n", style="bold")
    for command, what in (
        ("gossamer demo --attackers 2 --attack shift-back --rule clipped-differences", "two lie; the model holds"),
        ("gossamer demo --attackers 2 --attack shift-back --rule mean", "... and what happens without the rule"),
        ("gossamer demo --codec rot1", "another codec; also sign, q4, topk:0.02/q4, fp32"),
        ("docs/getting-started.md", "your own model, devices and broker, step by step"),
    ):
        lines.append(f"  {command}\n", style="cyan")
        lines.append(f"      {what}\n", style="dim")
    return lines
