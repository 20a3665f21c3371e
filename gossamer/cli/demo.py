"""``gossamer demo``: a fleet on this machine, from the first round to the plot."""

from __future__ import annotations

import math
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.completion import codecs, participations, rules
from gossamer.cli.threads import ONE_THREAD
from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from gossamer.aggregator.privacy import PrivacyPlan
    from gossamer.demo.display import Display
    from gossamer.demo.options import DemoOptions
    from gossamer.demo.settings import DemoSettings


CODEC, CODEC_DOWN = "What updates travel as: auto, ternary:P, rot1, fp32, ...", "The same for the model's changes."
RULE = "mean, median, trimmed-mean:F, clipped-differences, auto, ..."
PARTICIPATION = "reshuffled, fixed, uniform, anytime, ..."


def demo(
    data: Annotated[str, typer.Option(help="watch: smartwatch recordings, ten people; digits: 8x8 images.")] = "watch",
    devices: Annotated[int | None, typer.Option(help="Devices, each a process of its own.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    cohorts: Annotated[int | None, typer.Option(help="Rounds in a cycle; each device takes part in one.")] = None,
    codec: Annotated[str | None, typer.Option(help=CODEC, autocompletion=codecs)] = None,
    codec_down: Annotated[str | None, typer.Option(help=CODEC_DOWN, autocompletion=codecs)] = None,
    rule: Annotated[str, typer.Option(help=RULE, autocompletion=rules)] = "mean",
    attackers: Annotated[int, typer.Option(help="How many of the devices lie.")] = 0,
    attack: Annotated[str, typer.Option(help="How they lie: shift-back, min-max, adaptive:alie, ...")] = "shift-back",
    method: Annotated[str, typer.Option(help="How they train: fedavg, fedprox:0.1, scafcom:0.5/0.3, ...")] = "fedavg",
    participation: Annotated[str | None, typer.Option(help=PARTICIPATION, autocompletion=participations)] = None,
    server_step: Annotated[str, typer.Option(help="fedavg, fedavgm:0.5/0.5, fedadam:0.01, ... [default: tuned]")] = "",
    epsilon: Annotated[float, typer.Option(help="Privacy budget of the run; needs gossamer[privacy]. 0: none.")] = 0.0,
    broker: Annotated[str, typer.Option(help="embedded, or mqtt://HOST:PORT, or mqtts://HOST:PORT.")] = "embedded",
    ca_file: Annotated[str, typer.Option(help="PEM certificate authority of an mqtts:// broker.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same model, to the bit.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plot: Annotated[Path, typer.Option(help="Write the plot to this file.")] = Path("gossamer-demo.png"),
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything here, and continue what was killed here.")
    ] = None,
) -> None:
    """Let a fleet of devices on this machine train a model over real MQTT, and show what it took.

    Ten devices as ten processes, a broker, a server; loopback only. About two minutes on two cores.

    Example: gossamer demo --attackers 2 --attack shift-back --rule clipped-differences
    """
    # Before numpy is loaded: sums in one order whatever the number of cores, and no thread pool to fork beside.
    os.environ.update(ONE_THREAD)

    from gossamer.aggregator.jobs import AUTO
    from gossamer.demo.attacker import check_attack
    from gossamer.demo.options import DemoOptions
    from gossamer.demo.settings import defaults_for

    if attackers:
        check_attack(attack)
    schedule = participation or ("marina" if method.startswith("marina") else "reshuffled")
    tuned = defaults_for(data, rule, attackers=attackers, spec=method, participation=schedule)
    count = tuned.devices if devices is None else devices
    options = DemoOptions(
        data=data,
        seed=seed,
        devices=count,
        cohorts=min(tuned.cohorts, count) if cohorts is None else cohorts,
        rounds=tuned.rounds if rounds is None else rounds,
        codec=codec or (AUTO if codec_down == AUTO else tuned.codec),
        codec_down=codec_down or (AUTO if codec == AUTO else tuned.codec_down),
        rule=rule,
        attackers=attackers,
        attack=attack if attackers else "none",
        broker=broker,
        ca_file=ca_file,
        method=method,
        participation=schedule,
        server_step=server_step,
        epsilon=epsilon,
    )
    check(options, tuned, [plot, *([json_file] if json_file else [])])
    play(options, tuned, directory, plot, json_file)


def check(options: DemoOptions, tuned: DemoSettings, files: list[Path]) -> None:
    """Raise ConfigError for what cannot work, before anything is made."""
    from gossamer.demo.federation import model_for
    from gossamer.demo.workspace import job_settings, settled

    options.check()
    model_for(options.data)
    job_settings(options, tuned).check()
    settled(options, tuned)
    for file in files:
        if not file.resolve().parent.is_dir():
            raise ConfigError(f"the directory of {file} does not exist; create it first")


def play(options: DemoOptions, tuned: DemoSettings, directory: Path | None, plot: Path, json_file: Path | None) -> None:
    """Run it, and show what came of it."""
    from rich.console import Console

    from gossamer.demo.display import Display, envelope_table, farewell, result_table
    from gossamer.demo.plot import write_plot
    from gossamer.demo.run import run_demo

    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: signals.append(n))
    console = Console()
    display = Display(console)
    opening(display, options, tuned)
    with tempfile.TemporaryDirectory(prefix="gossamer-demo-") as temporary:
        try:
            figures = run_demo(options, tuned, directory or Path(temporary) / "run", display, lambda: bool(signals))
        except KeyboardInterrupt:
            kept = f"; continue with --dir {directory}" if directory else ""
            display.say(f"stopped{kept}")
            raise typer.Exit(130) from None
    write_plot(figures, plot)
    if json_file is not None:
        figures.write(json_file)
    for part in (result_table(figures), envelope_table(figures), farewell(figures, plot, json_file)):
        console.print()
        console.print(part)


def opening(display: Display, options: DemoOptions, tuned: DemoSettings) -> None:
    """Say what is about to happen."""
    from gossamer.demo.workspace import settled

    settings, decisions = settled(options, tuned)
    watch = options.data == "watch"
    what = "recordings of people doing seven exercises" if watch else "handwritten digits"
    display.say(
        f"{options.devices} devices, each a process with its own {what}, train one model.\n"
        "All between them and the server is real MQTT, through a real broker on this machine.\n"
        f"Updates go up as {settings.codec_up}, the model comes down as {settings.codec_down}; "
        "the data stays where it is.\n"
    )
    if decisions.codec is not None:
        fit = f"{settings.fit.local_epochs} local epochs, batches of {settings.fit.batch_size}"
        display.say(f"Chosen by auto, with {fit}, for a metered link:\n{decisions.codec.explain()}.\n")
    if decisions.rule is not None:
        display.say(f"Rule chosen by auto: {decisions.rule.spec}. {decisions.rule.why}\n")
    if decisions.privacy is not None:
        display.say(privacy_line(decisions.privacy, options))


def privacy_line(planned: PrivacyPlan, options: DemoOptions) -> str:
    """Say what a private run spends, and how much noise that is for so few devices."""
    from gossamer.compression.layout import Layout
    from gossamer.demo.federation import model_for

    wanted, d = planned.settings, Layout.of(model_for(options.data).init(options.seed)).size
    length = planned.noise_multiplier * math.sqrt(d) * options.cohorts / options.devices
    return (
        f"Private: epsilon {planned.epsilon:.3g} at delta {wanted.delta:g}, {planned.releases} releases a device. "
        f"Updates are clipped to length {wanted.clip_norm:g}; the noise in a round's mean is {length:.3g} times that, "
        "and would be less in a larger cohort.\n"
    )
