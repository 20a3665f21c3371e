"""What a model costs a device on a link, codec by codec, and which codec to take. Pure: profiles in, figures out.

    bytes    `byte_model`, with the sizes of `body_sizes`
    airtime  bits / rate, up and down, + round trips that something waits for + waking the radio
    energy   radio: sending, receiving, waiting, and the tail before it sleeps; processor: what a busy core adds
    training starting the child + steps (calls into numpy + operations / speed)
    rounds   (budget - what an idle month takes) / bytes of a participation

The codecs of a model differ in how many rounds they need, too. How many more than an uncompressed one is estimated by
`gossamer.compression.auto_costs`, from the part of an update's energy that a body holds; recommended is the codec with
the fewest bytes times rounds, or, where nobody bills bytes, with the least time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gossamer.compression import auto
from gossamer.compression.auto_costs import rounds_factor, waits
from gossamer.compression.layout import Layout
from gossamer.errors import InputError
from gossamer.firmware_profiles.body_sizes import Encoded, encoded, shape_of
from gossamer.firmware_profiles.byte_model import MONTH_SECONDS, Habits, Model, Sizes
from gossamer.firmware_profiles.exchanges import JobSize, Names
from gossamer.firmware_profiles.measure import FLOPS_PER_PARAMETER
from gossamer.firmware_profiles.packets import Tally, Transport
from gossamer.firmware_profiles.profiles import DeviceProfile, LinkProfile, codec_kind
from gossamer.firmware_profiles.units import Price
from gossamer.firmware_profiles.updates import UpdateMaker
from gossamer.wire.limits import MAX_OBJECT_BYTES

CODECS = ("fp32", "q8", "rot4:ls", "rot1:ls", "topk:0.01/q4", "ternary:0.05", "ternary:0.01")
"""Always compared; to them comes what ``--codec auto`` would take, and `HIST_SHARE`."""
HIST_SHARE = 0.004
COPIES = 6
"""Vectors of the model's size that a fit holds at once: weights, gradients, delta, residual, what the codec makes."""
Progress = Callable[[str, int, int], None]
MOST_FIT_SECONDS = 3600
"""An agent ends a fit after this (``fit_timeout_seconds``)."""


@dataclass(frozen=True)
class Wish:
    """What is asked.

    Args:
        layout: of the model.
        budget: bytes a month, or None: nobody counts; price: of them, or None.
        devices, cohorts, examples: of the fleet, the rounds of a cycle, and the examples of a device.
        local_epochs: or None, for what ``auto`` would choose.
        operations: floating point operations of training on one example; 0: 6 a parameter, right for dense layers.
        codecs: specs to compare beside the usual ones.
    """

    layout: Layout
    device: DeviceProfile
    link: LinkProfile
    budget: int | None = None
    price: Price | None = None
    devices: int = 100
    cohorts: int = 1
    examples: int = 200
    local_epochs: int | None = None
    operations: int = 0
    codecs: tuple[str, ...] = ()
    transport: Transport = field(default_factory=Transport)
    names: Names = field(default_factory=Names)
    habits: Habits = field(default_factory=Habits)
    plan_bytes: int = 0


@dataclass(frozen=True)
class CodecPlan:
    """One codec's figures for one participation, and for a month of them. Seconds, joules, bytes."""

    codec: str
    codec_down: str
    encoded: Encoded
    round: Tally
    airtime_seconds: float
    radio_joules: float
    processor_joules: float
    codec_seconds: float
    train_seconds: float
    rounds_month: int | None
    bytes_month: int | None
    price_round: float | None
    price_month: float | None
    rounds_factor: float
    """Rounds to the same accuracy, of those of an uncompressed update: an estimate."""

    @property
    def joules(self) -> float:
        """Of a participation, above what the board draws at rest."""
        return self.radio_joules + self.processor_joules


@dataclass(frozen=True)
class ModelPlan:
    """All codecs of a question, and the one to take.

    ``idle``: bytes of a month without rounds; ``idle_joules`` of the radio then. ``child_mib``: memory of a fit.
    ``best_by_class``: the same among codecs that one class of devices may have for itself; ``hist`` is for all or none.
    ``rounds_other_way``: that the budget pays for with ``best`` if the device did the opposite with its connection.
    """

    wish: Wish
    local_epochs: int
    batch_size: int
    codecs: tuple[CodecPlan, ...]
    best: CodecPlan
    why: str
    best_by_class: CodecPlan
    idle: Tally
    idle_joules: float
    child_mib: int
    rounds_other_way: int | None

    @property
    def fits_memory(self) -> bool:
        """Whether a fit takes at most half of the device's memory."""
        return self.child_mib <= self.wish.device.memory_mib // 2


def plan_model(wish: Wish, progress: Progress = lambda *_: None) -> ModelPlan:
    """Price every codec and recommend one; ``progress`` hears codec, its number and their count.

    Raises:
        InputError: a model or a fleet that is none, or that no codec makes small enough.
    """
    if wish.layout.size < 1:
        raise InputError("expected a model with at least one parameter")
    maker = UpdateMaker(wish.layout, seed=0)
    choice = _choice(wish, maker)
    epochs = _epochs(wish, choice)
    ways = [(spec, spec) for spec in (*CODECS, *_hist(wish.layout), *wish.codecs)]
    ways.append((choice.codec_up, choice.codec_down))
    plans: list[CodecPlan] = []
    different = dict.fromkeys(ways)
    for number, (up, down) in enumerate(different, start=1):
        progress(up, number, len(different))
        plan = _priced(wish, maker, up, down, epochs, choice.batch_size)
        plans += [plan] if plan is not None else []
    if not plans:
        raise InputError(f"a model of {wish.layout.size:,} parameters fits {MAX_OBJECT_BYTES:,} bytes with no codec")
    best, why = recommended(wish, plans)
    alone, _ = recommended(wish, [plan for plan in plans if not plan.encoded.has_history])
    idle = _model(wish, best.encoded, epochs, choice.batch_size).idle_month()
    memory = wish.device.child_rss_mib + math.ceil(COPIES * 4 * wish.layout.size / 2**20)
    other = replace(wish, habits=replace(wish.habits, stays=not wish.habits.stays))
    turned = _priced(other, maker, best.codec, best.codec_down, epochs, choice.batch_size)
    assert turned is not None  # noqa: S101 - the same bodies as before
    return ModelPlan(
        wish, epochs, choice.batch_size, tuple(plans), best, why, alone, idle, idle_joules(wish), memory,
        turned.rounds_month,
    )  # fmt: skip


def train_seconds(wish: Wish, epochs: int, batch: int) -> float:
    """Seconds of one fit, the start of its process included."""
    steps = epochs * math.ceil(wish.examples / batch)
    operations = (wish.operations or FLOPS_PER_PARAMETER * wish.layout.size) * wish.examples * epochs
    beside = wish.device.start_milliseconds / 1e3 + steps * wish.device.step_microseconds / 1e6
    return beside + operations / (wish.device.train_megaflops * 1e6)


def airtime(link: LinkProfile, tally: Tally, wakes: int) -> float:
    """Seconds that a radio is busy with or waits for these bytes, its tail not counted."""
    sending = 8 * tally.bytes_up / link.rate_up_bits_per_second
    receiving = 8 * tally.bytes_down / link.rate_down_bits_per_second
    return sending + receiving + (tally.turns * link.round_trip_milliseconds + wakes * link.wake_milliseconds) / 1e3


def radio_joules(link: LinkProfile, tally: Tally, wakes: int) -> float:
    """Energy of the radio for these bytes, with a tail after each time it was awake."""
    sending = 8 * tally.bytes_up / link.rate_up_bits_per_second
    other = airtime(link, tally, wakes) - sending
    tails = wakes * link.tail_milliseconds / 1e3 * link.tail_milliwatts
    return (sending * link.tx_milliwatts + other * link.rx_milliwatts + tails) / 1e3


def idle_joules(wish: Wish) -> float:
    """Radio energy of a month's pings, polls and reconnects."""
    if not wish.habits.stays:
        return 0.0
    model = Model(wish.transport, wish.names, JobSize("fp32"), _NO_SIZES, wish.habits)
    polls = MONTH_SECONDS // wish.habits.poll_seconds
    pings = polls * ((wish.habits.poll_seconds - 1) // wish.habits.keepalive_seconds)
    wakes = polls + pings + wish.habits.reconnects_a_day * MONTH_SECONDS // 86_400
    return radio_joules(wish.link, model.idle_month(), wakes)


def recommended(wish: Wish, plans: Sequence[CodecPlan]) -> tuple[CodecPlan, str]:
    """The codec to take, and the reason with the numbers that decided."""
    affordable = [plan for plan in plans if plan.rounds_month is None or plan.rounds_month >= 1]
    by_bytes = wish.budget is not None or wish.link.metered

    def cost(plan: CodecPlan) -> float:
        own = plan.round.total if by_bytes else plan.airtime_seconds + plan.train_seconds + plan.codec_seconds
        return own * plan.rounds_factor

    best = min(affordable or plans, key=cost)
    full = plans[0]
    what = "bytes" if by_bytes else "seconds"
    own = f"{best.round.total:,} bytes" if by_bytes else f"{cost(best) / best.rounds_factor:,.1f} s"
    why = (
        f"{best.codec} takes {own} a round and an estimated {best.rounds_factor:.2f} times the rounds of {full.codec}: "
        f"{100 * cost(best) / cost(full):.2g} % of its {what} to the same accuracy"
    )
    if not affordable:
        why += "; but the budget does not pay for one round a month: raise it"
        why += ", or let the device connect for each round" if wish.habits.stays else ", or plan for a smaller model"
    return best, why


def _model(wish: Wish, sizes: Encoded, epochs: int, batch: int) -> Model:
    job = JobSize(
        sizes.codec, epochs, batch, wish.devices, wish.cohorts, has_history=sizes.has_history,
        plan_bytes=wish.plan_bytes,
    )  # fmt: skip
    profile = wish.device.name if wish.plan_bytes else ""
    names = replace(wish.names, budget_bytes=wish.budget or 0, profile=profile)
    return Model(wish.transport, names, job, sizes.sizes, wish.habits)


def _priced(wish: Wish, maker: UpdateMaker, up: str, down: str, epochs: int, batch: int) -> CodecPlan | None:
    """The figures of one codec; None if its bodies are larger than the wire carries."""
    sizes = encoded(maker, up, down, wish.cohorts, shape_of(wish.layout))
    if max(sizes.sizes.update, sizes.sizes.delta) > MAX_OBJECT_BYTES:
        return None
    model = _model(wish, sizes, epochs, batch)
    tally = model.participation(connects=not wish.habits.stays)
    trained = train_seconds(wish, epochs, batch)
    # After the download the radio may sleep until the update is there; each other manifest wakes it as well.
    wakes = 1 + (trained * 1e3 > wish.link.tail_milliseconds) + (wish.cohorts - 1 if wish.habits.stays else 0)
    coding = sum(
        wish.layout.size / (1e3 * wish.device.codec_kilovalues_per_second[codec_kind(spec)]) for spec in (up, down)
    )
    busy = (wish.device.busy_milliwatts - wish.device.idle_milliwatts) / 1e3 * (trained + coding)
    on_air = airtime(wish.link, tally, wakes)
    rounds, month = _month(wish, model, tally, on_air + trained + coding)
    wait = waits(sizes.captured, sizes.captured_down)
    price = wish.price
    return CodecPlan(
        up, down, sizes, tally, on_air, radio_joules(wish.link, tally, wakes), busy, coding, trained, rounds, month,
        None if price is None else price.of(tally.total), None if price is None or month is None else price.of(month),
        rounds_factor(wait, momentum=False),
    )  # fmt: skip


def _month(wish: Wish, model: Model, tally: Tally, seconds: float) -> tuple[int | None, int | None]:
    """Participations that the budget pays for in a month, and the bytes of them and of the idle time."""
    if wish.budget is None:
        return None, None
    idle = model.idle_month().total
    rounds = max(0, wish.budget - idle) // tally.total
    rounds = min(rounds, int(MONTH_SECONDS / max(seconds, 1e-3)))
    return rounds, idle + rounds * tally.total


def _choice(wish: Wish, maker: UpdateMaker) -> auto.Choice:
    """What ``--codec auto`` takes for this job, at this envelope."""
    names = [name for name, _ in wish.layout.entries]
    facts = auto.JobFacts(
        tuple(shape for _, shape in wish.layout.entries),
        frozenset(names.index(name) for name, _ in wish.layout.axes), wish.devices, wish.cohorts, wish.examples,
    )  # fmt: skip
    probe = encoded(maker, "ternary:0.01", "ternary:0.01", 1, facts.shape)
    tally = _model(wish, probe, 1, 32).participation(connects=not wish.habits.stays)
    envelope = tally.total - probe.sizes.update - probe.sizes.delta
    rate = min(wish.link.rate_up_bits_per_second, wish.link.rate_down_bits_per_second) / 8
    return auto.choose(facts, auto.LinkFacts(envelope, bytes_per_second=rate, metered=wish.link.metered))


def _epochs(wish: Wish, choice: auto.Choice) -> int:
    """As asked, or as ``auto`` would, as long as a fit does not run into the agent's limit."""
    if wish.local_epochs is not None:
        return wish.local_epochs
    epochs = choice.local_epochs
    while epochs > 1 and train_seconds(wish, epochs, choice.batch_size) > MOST_FIT_SECONDS:
        epochs -= 1
    return epochs


def _hist(layout: Layout) -> tuple[str, ...]:
    return (f"hist:{max(1, round(HIST_SHARE * layout.size))}",) if layout.size >= auto.HIST_PARAMETERS else ()


_NO_SIZES = Sizes(1, 1, 1)
