"""``--codec auto``: codec, sparsity, local epochs, batch and server step that should cost the fewest bytes on the wire.

`choose` is the server's, for the job as a whole; `for_device` is a device's own, for the link it is on at the moment.
Every candidate is priced by the model of `auto_costs` and the cheapest is taken; nothing is tried out, and the same
facts always give the same choice. ``hist`` is a candidate for models of `HIST_PARAMETERS` or more: below that its basis
has nothing to draw on. The server step is one of `STEPS`: momentum halves the rounds at best, and costs some where too
much waits in the residuals.

The learning rate stays the operator's: it depends on the scale of the inputs, which no layout tells. The MLP of the
digits learns at 0.2, and the one of the watch, with the same batch, leaves the lattice at half of it.

>>> facts = JobFacts(((784, 128), (128,), (128, 10), (10,)), frozenset({0}), devices=20)
>>> choose(facts, LinkFacts(envelope_bytes=1200)).codec_up.partition(":")[0]
'hist'
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gossamer.compression.auto_costs import (
    FITTED,
    Constants,
    Shape,
    body_bytes,
    captured,
    caught_up,
    corrected,
    epoch_factor,
    rounds_factor,
    waits,
)
from gossamer.errors import InputError

PLAIN, MOMENTUM = "fedavg", "fedavgm:1.0/0.5"
STEPS = (PLAIN, MOMENTUM)
HIST_PARAMETERS = 1_000
"""Below this ``hist`` is not tried."""
SHARES = (0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
EPOCHS = (1, 2, 4, 8, 16)
EPOCH_WORTH = 1.05
"""More local epochs must save 5 % of the bytes: they cost energy, which this does not price."""
FINE_BATCH, COARSE_BATCH = 8, 32
MOST_STEPS = 4000
"""Local steps of one fit with the fine batch; a device with more examples takes the coarse one."""
FREE_SECONDS = 2.0
"""On an unmetered link a body that takes no longer than this costs nothing that anybody would notice."""
GENEROUS = "rot4:ls"
"""What is sent then: 4 bits a parameter, .99 of the energy. Its least-squares form keeps a residual, so what an
earlier, sparser codec left behind on a worse link goes out now instead of being forgotten."""


DEVICE_CODECS = (GENEROUS, "ternary:0.2", "hist:0.2")
"""What a device may send by its own choice, at its largest: the methods that `for_device` chooses among."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the server knows of a job.

    Args:
        shapes: of the model's arrays, in order.
        smooth: positions of those with declared sensor axes.
        devices, cohorts: of the fleet; a device takes part every ``cohorts`` rounds.
        examples: of a typical device.
        most_epochs: what the operator allows a device to compute. Above 8 little was gained, and energy lost.
    """

    shapes: tuple[tuple[int, ...], ...]
    smooth: frozenset[int] = frozenset()
    devices: int = 10
    cohorts: int = 1
    examples: int = 200
    most_epochs: int = 8

    def __post_init__(self) -> None:
        """Raise `InputError` for no parameters, or counts below 1."""
        if min(self.devices, self.cohorts, self.examples, self.most_epochs, self.shape.parameters) < 1:
            raise InputError(f"expected a model, devices, cohorts, examples and epochs of at least 1, got {self}")

    @property
    def shape(self) -> Shape:
        """What of it `auto_costs` looks at; a convolution counts as its matrix (taps x inputs, outputs)."""
        widest = max(range(len(self.shapes)), key=lambda i: self._matrix(i), default=0)
        total = sum(math.prod(shape) for shape in self.shapes)
        return Shape(total, self._matrix(widest) if self.shapes else 0, widest in self.smooth)

    def _matrix(self, position: int) -> int:
        return math.prod(self.shapes[position]) if len(self.shapes[position]) > 1 else 0


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link: envelope of a participation as measured (bytes beside the bodies), what each byte of a body adds to
    itself, the rate, and whether somebody pays.
    """

    envelope_bytes: float = 1200.0
    per_byte: float = 0.1
    bytes_per_second: float = 2500.0
    metered: bool = True

    def __post_init__(self) -> None:
        """Raise `InputError` for numbers that no link has."""
        if not (self.envelope_bytes >= 0 and self.per_byte >= 0 and self.bytes_per_second > 0):
            raise InputError(f"expected bytes of 0 or more and a rate above 0, got {self}")


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been seen so far: rounds, and ||residual||^2 / ||update||^2 of the last ones."""

    rounds: int = 0
    residual_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do, and why; ``method`` and ``share`` are what ``codec_up`` is made of."""

    codec_up: str
    codec_down: str
    local_epochs: int
    batch_size: int
    reason: str
    facts: JobFacts
    method: str
    share: float
    cost: float = field(default=math.inf, compare=False)
    """Wire bytes, up to a factor that is the same for every choice of the job."""
    server_step: str = ""
    """Empty, as a device has it, which is not told: the cheapest is assumed, as when the job was made."""

    def explain(self) -> str:
        """A sentence with the numbers that decided."""
        return self.reason


@dataclass(frozen=True, slots=True)
class _Row:
    method: str
    up: float
    down: float
    epochs: int
    step: str
    cost: float
    bodies: float


def choose(
    facts: JobFacts, link: LinkFacts, progress: Progress | None = None, before: Choice | None = None,
    constants: Constants = FITTED,
) -> Choice:  # fmt: skip
    """The cheapest way to train; ``progress``, made under ``before``, corrects the model by what was seen."""
    cheapest: dict[int, _Row] = {}
    for row in _rows(facts, link, progress, before, constants):
        if row.epochs not in cheapest or row.cost < cheapest[row.epochs].cost:
            cheapest[row.epochs] = row
    best = cheapest[1]
    for epochs in sorted(cheapest):
        if cheapest[epochs].cost * EPOCH_WORTH < best.cost:
            best = cheapest[epochs]
    return _choice(facts, _envelope(facts, link, constants), best, cheapest[1])


def for_device(choice: Choice, link: LinkFacts, progress: Progress | None = None) -> Choice:
    """What one device sends on its link: the aggregator takes every codec, so it need not be the job's.

    On a fast link that nobody bills: 4 bits a parameter. On any other: what is cheapest with *its* envelope; epochs,
    batch and the way down stay the job's.
    """
    parameters = choice.facts.shape.parameters
    size = body_bytes(GENEROUS, 1.0, choice.facts.shape)
    seconds = size / link.bytes_per_second
    if not link.metered and seconds <= FREE_SECONDS:
        reason = (
            f"{GENEROUS}: the link is unmetered, and {size:,.0f} bytes for {parameters:,} parameters take "
            f"{seconds:.1f} s on it (up to {FREE_SECONDS:.0f} s), so the update goes out nearly whole"
        )
        return replace(choice, codec_up=GENEROUS, method=GENEROUS, share=1.0, reason=reason)
    own = choose(choice.facts, link, progress, choice)
    return replace(choice, codec_up=own.codec_up, method=own.method, share=own.share, reason=own.reason)


def _rows(
    facts: JobFacts, link: LinkFacts, progress: Progress | None, before: Choice | None, constants: Constants
) -> Iterator[_Row]:
    """Every candidate with its cost."""
    shape = facts.shape
    steps = (before.server_step,) if before is not None and before.server_step in STEPS else STEPS
    methods = ("hist", "ternary") if shape.parameters >= HIST_PARAMETERS else ("ternary",)
    held = None if before is None else captured(before.method, before.share, shape, constants)

    def part(method: str, share: float) -> float:
        estimate = captured(method, share, shape, constants)
        if progress is None or held is None or progress.rounds == 0:
            return estimate
        return corrected(estimate, held, progress.residual_ratio, progress.rounds)

    for method in methods:
        shares = [share for share in SHARES if share * shape.parameters >= 1] or [1.0]
        messages = {share: (part(method, share), body_bytes(method, share, shape, constants)) for share in shares}
        for up, (up_part, up_bytes) in messages.items():
            for down, (down_part, down_bytes) in messages.items():
                bodies = up_bytes + caught_up(method, down_bytes, facts.cohorts, constants)
                price = (1 + link.per_byte) * bodies + _envelope(facts, link, constants)
                wait = waits(up_part, down_part)
                for step, epochs in itertools.product(steps, (each for each in EPOCHS if each <= facts.most_epochs)):
                    rounds = rounds_factor(wait, constants, momentum=step == MOMENTUM)
                    cost = price * rounds * epoch_factor(epochs, shape, constants)
                    yield _Row(method, up, down, epochs, step, cost, bodies)


def _envelope(facts: JobFacts, link: LinkFacts, constants: Constants) -> float:
    """Bytes of a participation beside its bodies."""
    return link.envelope_bytes + (constants.connection if facts.cohorts > 1 else 0.0)


def _choice(facts: JobFacts, envelope: float, best: _Row, single: _Row) -> Choice:
    fine = best.epochs * facts.examples <= MOST_STEPS * FINE_BATCH
    batch = FINE_BATCH if fine else COARSE_BATCH
    up, down = (_spec(best.method, share, facts.shape.parameters) for share in (best.up, best.down))
    whose = "the envelope" if envelope > best.bodies else "the bodies"
    reason = (
        f"{up} up and {down} down: bodies of about {best.bodies:,.0f} bytes beside an envelope of "
        f"{envelope:,.0f} a participation, so {whose} cost most; {best.step}; {best.epochs} local epochs instead of 1 "
        f"save {1 - best.cost / single.cost:.0%} of the bytes; {facts.shape.parameters:,} parameters, "
        f"the widest matrix has {facts.shape.widest:,}"
    )
    return Choice(up, down, best.epochs, batch, reason, facts, best.method, best.up, best.cost, best.step)


def _spec(method: str, share: float, parameters: int) -> str:
    if method == "hist":
        return f"hist:{max(1, round(share * parameters))}"
    return f"{method}:{share:g}"
