"""The planner's sums and choices. Its bytes are held by other tests; here: what must follow from what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.aggregator.job_settings import FitSettings, JobSettings, PlanSettings
from gossamer.compression.codecs import codec
from gossamer.errors import ConfigError
from gossamer.firmware_profiles import Profiles
from gossamer.firmware_profiles.body_sizes import encoded, shape_of
from gossamer.firmware_profiles.byte_model import Habits
from gossamer.firmware_profiles.fleet_plan import plans_toml, read_fleet, total
from gossamer.firmware_profiles.model_files import layout_of
from gossamer.firmware_profiles.packets import Transport
from gossamer.firmware_profiles.planner import CODECS, ModelPlan, Wish, plan_model, train_seconds
from gossamer.firmware_profiles.units import Price, bytes_a_month, parse_price
from gossamer.firmware_profiles.updates import UpdateMaker
from gossamer.settings import parse_toml

PROFILES = Profiles(Path("/none"))
LAYOUT = layout_of("64x32@8x8,32,32x10,10")
WISH = Wish(
    LAYOUT, PROFILES.device("pi-zero-2w"), PROFILES.link("gprs"), budget=2_000_000, price=Price(100_000),
    local_epochs=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def plan() -> ModelPlan:
    return plan_model(WISH)


def test_all_codecs_are_compared_with_real_bodies(plan: ModelPlan):
    specs = [each.codec for each in plan.codecs]
    assert set(CODECS) < set(specs)
    assert len(set(zip(specs, (each.codec_down for each in plan.codecs), strict=True))) == len(specs)
    maker = UpdateMaker(LAYOUT, seed=0)
    for each in plan.codecs:
        own = maker.first_model.context(upward=True)
        body = codec(each.codec).encode(maker.update(0), seed=1, context=own)
        assert each.encoded.sizes.update == len(body) == each.round.by_cause["update"]
        assert each.round.by_cause["model"] == each.encoded.sizes.delta


def test_a_month_within_the_budget(plan: ModelPlan):
    for each in plan.codecs:
        idle = each.bytes_month - each.rounds_month * each.round.total
        assert idle == pytest.approx(plan.idle.total, rel=0.01)  # the codec's name is in the manifest
        assert each.bytes_month <= WISH.budget < each.bytes_month + each.round.total
        assert each.price_month == pytest.approx(each.bytes_month / 1e6 * 0.1)
        assert each.price_round == pytest.approx(each.round.total / 1e6 * 0.1)


def test_who_sleeps_pays_for_connections_and_not_for_idle_time(plan: ModelPlan):
    asleep = plan_model(replace(WISH, habits=Habits(stays=False)))
    assert asleep.idle.total == asleep.idle_joules == 0
    assert asleep.best.round.total > plan.best.round.total
    assert plan.rounds_other_way == next(
        each.rounds_month for each in asleep.codecs if each.codec == plan.best.codec
    )  # fmt: skip


def test_the_recommended_one_is_the_cheapest_in_bytes_times_rounds(plan: ModelPlan):
    def cost(each: object) -> float:
        return each.round.total * each.rounds_factor  # type: ignore[attr-defined]

    assert plan.best is min(plan.codecs, key=cost)
    assert plan.best.codec in plan.why
    assert f"{plan.best.round.total:,}" in plan.why


def test_where_nobody_bills_bytes_time_decides():
    free = plan_model(replace(WISH, link=PROFILES.link("ethernet"), budget=None, price=None))
    assert free.best.rounds_month is None
    assert free.best.price_month is None
    assert "seconds" in free.why
    fast = min(free.codecs, key=lambda e: (e.airtime_seconds + e.train_seconds + e.codec_seconds) * e.rounds_factor)
    assert free.best is fast


def test_a_budget_that_pays_for_nothing_is_said():
    poor = plan_model(replace(WISH, budget=100_000))
    assert poor.best.rounds_month == 0
    assert "does not pay for one round" in poor.why
    assert "let the device connect for each round" in poor.why
    asleep = plan_model(replace(WISH, budget=100, habits=Habits(stays=False)))
    assert "does not pay for one round" in asleep.why
    assert "connect for each round" not in asleep.why


def test_what_costs_more(plan: ModelPlan):
    plain = plan_model(replace(WISH, transport=Transport(tls=False)))
    assert plain.best.rounds_month > plan.best.rounds_month
    slow = plan_model(replace(WISH, device=PROFILES.device("generic-armv7")))
    assert slow.best.train_seconds > plan.best.train_seconds
    thin = plan_model(replace(WISH, link=PROFILES.link("satellite")))
    assert thin.best.airtime_seconds > plan.best.airtime_seconds
    assert thin.best.radio_joules > plan.best.radio_joules
    cohorts = plan_model(replace(WISH, cohorts=5))
    assert cohorts.codecs[0].round.by_cause["manifest"] > 4 * plan.codecs[0].round.by_cause["manifest"]
    for five, one in zip(cohorts.codecs[: len(CODECS)], plan.codecs, strict=False):
        assert five.encoded.sizes.delta >= one.encoded.sizes.delta


def test_training_time_by_hand():
    device = WISH.device
    steps = 2 * 25  # 200 examples in batches of 8, twice
    work = 6 * LAYOUT.size * 200 * 2 / (device.train_megaflops * 1e6)
    expected = device.start_milliseconds / 1e3 + steps * device.step_microseconds / 1e6 + work
    assert train_seconds(WISH, epochs=2, batch=8) == pytest.approx(expected)
    conv = replace(WISH, operations=10 * 6 * LAYOUT.size)
    assert train_seconds(conv, 2, 8) - train_seconds(WISH, 2, 8) == pytest.approx(9 * work)


def test_a_model_beyond_the_memory():
    small = replace(WISH.device, memory_mib=40)
    plan = plan_model(replace(WISH, device=small, codecs=("rot2",)))
    assert not plan.fits_memory
    assert "rot2" in [each.codec for each in plan.codecs]


def test_the_same_question_has_the_same_answer(plan: ModelPlan):
    again = plan_model(WISH)
    assert [each.round.total for each in again.codecs] == [each.round.total for each in plan.codecs]
    assert again.best.codec == plan.best.codec


def test_a_delta_over_more_rounds_is_longer_up_to_the_snapshot():
    maker = UpdateMaker(LAYOUT, seed=0)
    sizes = [encoded(maker, "ternary:0.05", "ternary:0.05", c, shape_of(LAYOUT)).sizes for c in (1, 3, 10, 1000)]
    deltas = [each.delta for each in sizes]
    assert deltas[0] < deltas[1] < deltas[2]
    assert deltas[-1] <= sizes[-1].snapshot


@pytest.mark.parametrize(
    "text", ["2MB", "MB/month", "0MB/month", "2MB/fortnight", "-1MB/day", "2 months", "\u0662B/day"]
)
def test_no_budget(text: str):
    with pytest.raises(ConfigError, match="expected an amount and a time"):
        bytes_a_month(text)


def test_more_than_any_link_carries():
    with pytest.raises(ConfigError, match="expected at most"):
        bytes_a_month("99999999999999999999MB/month")


def test_a_currency_has_one_name():
    assert parse_price("0.05€/MB") == parse_price("0.05 eur/MB") == parse_price("0.05")


@pytest.mark.parametrize("text", ["free", "1 EUR/round", "", "1,5"])
def test_no_price(text: str):
    with pytest.raises(ConfigError, match="expected an amount"):
        parse_price(text)


FLEET = """
cohorts = 2
[[groups]]
name = "pumps"
count = 40
device = "pi-zero-2w"
link = "gprs"
budget = "2MB/month"
[[groups]]
count = 3
device = "pi-4"
link = "wifi"
"""


def fleet_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


def test_a_fleet_is_its_groups(tmp_path: Path, plan: ModelPlan):
    fleet = read_fleet(fleet_file(tmp_path, FLEET))
    assert (fleet.devices, fleet.cohorts, fleet.groups[1].name) == (43, 2, "group-2")
    wifi = replace(WISH, device=PROFILES.device("pi-4"), link=PROFILES.link("wifi"), budget=None, price=None)
    free = plan_model(wifi)
    whole = total([(fleet.groups[0], plan), (fleet.groups[1], free)])
    assert whole.bytes_round == 40 * plan.best.round.total + 3 * free.best.round.total
    assert (whole.rounds_month, whole.slowest, whole.bytes_month) == (plan.best.rounds_month, "pumps", None)
    assert whole.prices_month == {"EUR": pytest.approx(40 * plan.best.price_month)}
    both = total([(fleet.groups[0], plan), (fleet.groups[1], plan)])
    assert both.bytes_month == 43 * plan.best.bytes_month


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("count = 40", "count = 0"), "group pumps: count and examples: expected 1 or more"),
        (("count = 40", 'count = "x"'), "count: expected a number"),
        (("count = 40", ""), "group pumps: count is missing"),
        (("count = 40", "number = 40"), "unknown key number"),
        (('name = "pumps"', 'name = "group-2"'), "its own name"),
        (("cohorts = 2", "cohorts = -2"), "cohorts: expected a whole number"),
        (("cohorts = 2", "devices = 2"), "unknown key devices"),
        (("[[groups]]", "[[others]]"), "expected cohorts and"),
    ],
)
def test_a_fleet_file_is_refused(tmp_path: Path, change: tuple[str, str], message: str):
    with pytest.raises(ConfigError, match=message.replace("[", "\\[")):
        read_fleet(fleet_file(tmp_path, FLEET.replace(*change)))


def test_a_group_is_a_table(tmp_path: Path):
    with pytest.raises(ConfigError, match="group 1: expected a table"):
        read_fleet(fleet_file(tmp_path, "groups = [3]"))


def test_plans_for_devices_can_be_read_again(plan: ModelPlan):
    thin = replace(plan_model(replace(WISH, link=PROFILES.link("satellite"), budget=700_000)), local_epochs=1)
    other = plan_model(replace(WISH, device=PROFILES.device("pi-4")))
    for order in ([plan, thin, other], [thin, other, plan]):
        table = parse_toml(plans_toml(order, "a test"))["plans"]
        assert table["pi-zero-2w"]["local_epochs"] == 1
    assert set(table) == {"pi-zero-2w", "pi-4"}
    assert table["pi-4"] == {"codec": other.best_by_class.codec, "local_epochs": 2}
    assert thin.best.rounds_month < plan.best.rounds_month
    assert table["pi-zero-2w"]["codec"] == thin.best_by_class.codec
    asked = tuple((name, PlanSettings(**each)) for name, each in sorted(table.items()))
    JobSettings(name="j", job=1, fleet="f", seed=0, rounds=9, fit=FitSettings(2, 32, 0.1), plans=asked)


def test_no_class_gets_a_codec_that_all_must_share(plan: ModelPlan):
    shared = next(each for each in plan.codecs if each.encoded.has_history)
    assert not plan.best_by_class.encoded.has_history
    text = plans_toml([replace(plan, best=shared)], "a test")
    assert parse_toml(text)["plans"]["pi-zero-2w"]["codec"] == plan.best_by_class.codec
    assert f"# cheaper, as the codec of the whole job: {shared.codec}" in text


def test_no_more_classes_than_a_manifest_has_room_for(plan: ModelPlan):
    many = [replace(plan, wish=replace(WISH, device=replace(WISH.device, name=f"class-{n:02}"))) for n in range(20)]
    with pytest.raises(ConfigError, match="plan for fewer classes"):
        plans_toml(many, "a test")
