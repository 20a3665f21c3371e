"""``--codec auto``: what it picks for the benchmarks' models, and whether its model ranks what was measured."""

from __future__ import annotations

import dataclasses
import math

import pytest

from gossamer.compression import codec
from gossamer.compression.auto import (
    FREE_SECONDS,
    GENEROUS,
    HIST_PARAMETERS,
    MOMENTUM,
    PLAIN,
    Choice,
    JobFacts,
    LinkFacts,
    Progress,
    choose,
    for_device,
)
from gossamer.compression.auto_costs import (
    FITTED,
    Shape,
    body_bytes,
    captured,
    corrected,
    epoch_factor,
    gain,
    rounds_factor,
    waits,
)
from gossamer.errors import InputError

MNIST = JobFacts(((784, 128), (128,), (128, 10), (10,)), frozenset({0}), devices=20, examples=200)
COHORTS = dataclasses.replace(MNIST, devices=100, cohorts=10, examples=40)
WATCH_CNN = JobFacts(((30, 24), (24,), (120, 19), (19,), (38, 7), (7,)), frozenset({0}), examples=330)
WATCH_MLP = JobFacts(((600, 64), (64,), (64, 7), (7,)), frozenset({0}), examples=330)
DIGITS = JobFacts(((64, 128), (128,), (128, 10), (10,)), frozenset({0}), examples=144)
ALL = (MNIST, COHORTS, WATCH_CNN, WATCH_MLP, DIGITS)

GPRS = LinkFacts(1250.0, 0.15, 2500.0)
WIFI = LinkFacts(1250.0, 0.05, 1e6, metered=False)

MEASURED_DIGITS = [
    # method, share, rounds to 97 % and payload of a device: means of seeds 0 to 2, 8 epochs of batch 8, rate 0.2,
    # fedavgm:1.0/0.5
    ("hist", 0.04, 17.7, 10_528),
    ("hist", 0.06, 14.0, 11_404),
    ("hist", 0.08, 11.7, 11_845),
    ("hist", 0.1, 13.3, 16_501),
    ("ternary", 0.1, 14.3, 19_150),
]


@pytest.mark.parametrize("facts", ALL)
@pytest.mark.parametrize("envelope", [0.0, 300.0, 1250.0, 5000.0])
def test_a_choice_can_be_used(facts: JobFacts, envelope: float) -> None:
    choice = choose(facts, LinkFacts(envelope))
    for spec in (choice.codec_up, choice.codec_down):
        assert codec(spec).uses_residual
    assert 1 <= choice.local_epochs <= facts.most_epochs
    assert choice == choose(facts, LinkFacts(envelope))
    assert choice.codec_up in choice.explain()
    assert f"{facts.shape.parameters:,} parameters" in choice.explain()


def test_all_but_the_smallest_models_take_hist() -> None:
    assert {choose(facts, GPRS).method for facts in ALL} == {"hist"}
    just_below = JobFacts(((HIST_PARAMETERS - 1,),))
    assert choose(just_below, GPRS).method == "ternary"


def test_a_dearer_envelope_asks_for_fewer_and_larger_messages() -> None:
    for facts in ALL:
        shares = [choose(facts, LinkFacts(envelope)).share for envelope in (100.0, 500.0, 1250.0, 5000.0)]
        assert shares == sorted(shares)
        assert shares[0] < shares[-1]


def test_mnist_is_near_what_was_found_by_hand() -> None:
    """Sweeps found 400 to 800 coefficients with an envelope of 1,500 bytes; payload alone asks for fewer."""
    assert 400 <= int(choose(MNIST, LinkFacts(1500.0)).codec_up.removeprefix("hist:")) <= 800
    assert int(choose(MNIST, LinkFacts(0.0)).codec_up.removeprefix("hist:")) <= 200


def test_cohorts_send_less_down_than_up() -> None:
    one, ten = choose(MNIST, GPRS), choose(COHORTS, GPRS)
    assert one.codec_up == one.codec_down
    assert int(ten.codec_down.removeprefix("hist:")) < int(ten.codec_up.removeprefix("hist:"))


def test_momentum_is_for_messages_that_leave_little_waiting() -> None:
    assert {choose(facts, GPRS).server_step for facts in ALL} == {MOMENTUM}
    little, much = (waits(*[captured("hist", share, DIGITS.shape)] * 2) for share in (0.1, 0.0005))
    assert rounds_factor(little, momentum=True) < rounds_factor(little, momentum=False)
    assert rounds_factor(much, momentum=True) > rounds_factor(much, momentum=False)


def test_a_device_does_not_choose_the_server_step() -> None:
    plain = dataclasses.replace(choose(MNIST, GPRS), server_step=PLAIN)
    assert for_device(plain, GPRS).server_step == for_device(plain, WIFI).server_step == PLAIN
    assert for_device(plain, GPRS).share < choose(MNIST, GPRS).share  # waiting costs less without momentum


def test_a_device_that_was_not_told_the_server_step_decides_as_the_job_did() -> None:
    for facts in ALL:
        choice = choose(facts, GPRS)
        assert for_device(dataclasses.replace(choice, server_step=""), GPRS).codec_up == choice.codec_up


def test_cohorts_pay_for_a_connection_each_time() -> None:
    assert "envelope of 5,239" in choose(COHORTS, GPRS).explain()
    assert "envelope of 1,250" in choose(MNIST, GPRS).explain()


def test_wide_models_train_for_fewer_epochs() -> None:
    assert [choose(facts, GPRS).local_epochs for facts in ALL] == [4, 4, 8, 4, 8]


def test_epochs_and_batch_follow_what_a_device_can_do() -> None:
    assert choose(dataclasses.replace(MNIST, most_epochs=3), GPRS).local_epochs == 2
    assert choose(MNIST, GPRS).batch_size == 8
    assert choose(dataclasses.replace(MNIST, examples=100_000), GPRS).batch_size == 32


# -- a device ----------------------------------------------------------------------------------------------


def test_a_device_on_wifi_sends_four_bits_and_one_on_gprs_does_not() -> None:
    choice = choose(MNIST, GPRS)
    wifi, gprs = for_device(choice, WIFI), for_device(choice, GPRS)
    assert wifi.codec_up == GENEROUS
    assert gprs.codec_up == choice.codec_up
    assert codec(GENEROUS).uses_residual  # what a sparse codec left behind is not forgotten on the way to Wi-Fi
    assert "unmetered" in wifi.explain()
    for mine in (wifi, gprs):
        assert (mine.codec_down, mine.local_epochs) == (choice.codec_down, choice.local_epochs)


def test_fast_but_billed_or_free_but_slow_is_not_wifi() -> None:
    choice = choose(MNIST, GPRS)
    slow = body_bytes(GENEROUS, 1.0, MNIST.shape) / (1.1 * FREE_SECONDS)
    for link in (dataclasses.replace(WIFI, metered=True), dataclasses.replace(WIFI, bytes_per_second=slow)):
        assert for_device(choice, link).method == "hist"


def test_a_dear_envelope_of_its_own_makes_a_device_send_more() -> None:
    choice = choose(DIGITS, LinkFacts(300.0))
    assert for_device(choice, LinkFacts(6000.0)).share > choice.share


def test_a_residual_that_piles_up_makes_a_device_send_more() -> None:
    choice = choose(DIGITS, GPRS)
    expected = 1 / captured(choice.method, choice.share, DIGITS.shape) - 1
    as_foreseen = for_device(choice, GPRS, Progress(30, expected))
    piled_up = for_device(choice, GPRS, Progress(30, 6 * expected))
    small = for_device(choice, GPRS, Progress(30, expected / 6))
    assert as_foreseen.share == choice.share
    assert small.share < choice.share < piled_up.share
    assert for_device(choice, GPRS, Progress(0, 6 * expected)).share == choice.share


# -- the model ---------------------------------------------------------------------------------------------


def foretold_rounds(method: str, share: float) -> float:
    part = captured(method, share, DIGITS.shape)
    return rounds_factor(waits(part, part), momentum=True)


def test_the_model_foretells_the_rounds_of_digits() -> None:
    """One factor for the federation; each measured number of rounds within 25 %, and 15 % in the mean."""
    logs = [math.log(rounds / foretold_rounds(method, share)) for method, share, rounds, _ in MEASURED_DIGITS]
    errors = [abs(each - sum(logs) / len(logs)) for each in logs]
    assert max(errors) < 0.25
    assert sum(errors) / len(errors) < 0.15


@pytest.mark.parametrize(("envelope", "bound"), [(500.0, 1.15), (1470.0, 1.15), (2500.0, 1.25)])
def test_what_the_model_ranks_first_is_near_the_best_measured(envelope: float, bound: float) -> None:
    """15 % at the envelope that was measured (1,470) and below; at 2,500 it takes 10 %, which seed 1 ran badly with."""

    def wire(row: tuple[str, float, float, int]) -> float:
        return row[2] * envelope + 1.1 * row[3]

    def foretold(row: tuple[str, float, float, int]) -> float:
        return (envelope + 2.2 * body_bytes(row[0], row[1], DIGITS.shape)) * foretold_rounds(row[0], row[1])

    assert wire(min(MEASURED_DIGITS, key=foretold)) <= bound * min(wire(row) for row in MEASURED_DIGITS)


def test_body_bytes_are_near_the_real_ones_of_digits() -> None:
    for method, share, rounds, payload in MEASURED_DIGITS:
        ours = body_bytes(method, share, DIGITS.shape)
        assert ours == pytest.approx(payload / (2 * rounds - 1), rel=0.12)  # nothing comes down before round 0


def test_epochs_beyond_the_knee_hardly_count() -> None:
    for shape, knee in ((DIGITS.shape, 8), (MNIST.shape, 4)):
        factors = [epoch_factor(epochs, shape) for epochs in (1, knee // 2, knee, 2 * knee)]
        assert factors == sorted(factors, reverse=True)
        assert factors[2] < 0.9 * factors[1]
        assert factors[3] > 0.95 * factors[2]


def test_captured_energy_as_measured_for_mnist() -> None:
    shape = MNIST.shape
    assert captured("ternary", 0.01, shape) == pytest.approx(0.285, abs=0.01)
    assert captured("hist", 0.001, shape) == pytest.approx(0.371, abs=0.03)
    assert captured("hist", 0.01, shape) == pytest.approx(0.727, abs=0.03)
    assert 8 * body_bytes("hist", 0.01, shape) / shape.parameters == pytest.approx(0.060, rel=0.1)


def test_gain_of_a_basis() -> None:
    assert gain(Shape(3316, 2280, True)) == FITTED.least_gain
    assert gain(MNIST.shape) == pytest.approx(2 * gain(dataclasses.replace(MNIST.shape, has_axes=False)))


def test_correction_is_neutral_bounded_and_grows_with_the_rounds() -> None:
    assert corrected(0.5, 0.4, 1 / 0.4 - 1, 50) == pytest.approx(0.5)
    assert 0.5 > corrected(0.5, 0.4, 4.0, 5) > corrected(0.5, 0.4, 4.0, 50)
    assert 0 < corrected(0.5, 0.4, 1e12, 1000) < corrected(0.5, 0.4, 0.0, 1000) < 1


def test_constants_can_be_given() -> None:
    no_gain = dataclasses.replace(FITTED, hist_parameters_per_gain=1e9, least_gain=1.0, hist_bits=9.0)
    assert choose(MNIST, GPRS, constants=no_gain).method == "ternary"


@pytest.mark.parametrize("wrong", [{"shapes": ()}, {"devices": 0}, {"cohorts": 0}, {"examples": 0}, {"most_epochs": 0}])
def test_facts_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        dataclasses.replace(MNIST, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rate above 0"):
        LinkFacts(bytes_per_second=0.0)


def test_a_choice_is_a_value() -> None:
    assert isinstance(choose(DIGITS, GPRS), Choice)
    assert hash(choose(DIGITS, GPRS)) == hash(choose(DIGITS, GPRS))
