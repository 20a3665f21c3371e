"""``fleet``, ``job`` and the one-line refusals of everything that takes a setting."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.cli.fleet import parse_option
from gossamer.compression import codec
from gossamer.errors import ConfigError
from gossamer.fleet.server_files import ServerFiles
from gossamer.wire.topics import Topics

from .command import Run, apart

JOB = 'name = "gait"\nrounds = 2\n'
TRAINER = """
import numpy as np

class Trainer:
    def initial(self, seed): return [np.zeros((2, 3), np.float32), np.ones(3, np.float32)]
    def fit(self, weights, config): raise NotImplementedError
    def evaluate(self, weights): return {}

def trainer(fail=False):
    if fail: raise FileNotFoundError("sample.npz")
    return Trainer()

def nothing(): return 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A trainer in the working directory, which an installed ``gossamer`` does not have on its path."""
    (tmp_path / "mine_cli.py").write_text(TRAINER)
    (tmp_path / "job.toml").write_text(JOB)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    return "mine_cli:trainer"


def test_a_fleet_from_init_to_revoke(run: Run, tmp_path: Path) -> None:
    made = run("fleet", "init", "farm1", "--state", "s", "--port", "18831")
    assert (made.code, made.out) == (0, "")
    assert "back it up" in made.err
    assert "password_file" in made.err
    assert run("fleet", "list", "--state", "s", "--json").out == "[]\n"
    assert "no devices yet" in run("fleet", "list", "--state", "s").out

    words = ["--trainer", "pumps:make", "--option", "data=/d/p.npz", "--option", "n=3", "--option", "fast=true"]
    enrolled = run("fleet", "enroll", "pump-1", *words, "--state", "s", "--host", "localhost", "--json")
    assert json.loads(enrolled.out) == {"device": "pump-1", "configuration": "s/devices/pump-1.toml"}
    assert "SIGHUP" in enrolled.err
    settings = load(tmp_path / "s/devices/pump-1.toml", {})
    assert settings.trainer_options == {"data": "/d/p.npz", "n": 3, "fast": True}
    assert (settings.broker.host, settings.broker.port) == ("localhost", 18831)
    assert (settings.broker.username, settings.device_index) == ("pump-1", 0)

    assert run("fleet", "enroll", "pump-2", "--trainer", "m:f", "--state", "s").code == 0
    rows = json.loads(run("fleet", "list", "--state", "s", "--json").out)
    assert [(row["device"], row["index"], row["state"]) for row in rows] == [
        ("pump-1", 0, "enrolled"), ("pump-2", 1, "enrolled"),
    ]  # fmt: skip
    assert rows[0]["last_contact"] is None
    assert "pump-2" in run("fleet", "list", "--state", "s").out

    assert run("fleet", "revoke", "pump-1", "--state", "s", "--yes").code == 0
    rows = json.loads(run("fleet", "list", "--state", "s", "--json").out)
    assert [row["state"] for row in rows] == ["revoked", "enrolled"]
    again = run("fleet", "enroll", "pump-1", "--trainer", "m:f", "--state", "s")
    assert again.code == 0
    assert load(tmp_path / "s/devices/pump-1.toml", {}).device_index == 0


def test_a_fleet_keeps_the_names_its_broker_has(run: Run, tmp_path: Path) -> None:
    shared, device = "dt/acme/{fleet}-{kind}", "dt/acme/things/{device}/fl/{kind}"
    made = run("fleet", "init", "farm1", "--state", "s", "--shared-topic", shared, "--device-topic", device)
    assert made.code == 0
    assert run("fleet", "enroll", "pump-1", "--trainer", "m:f", "--state", "s").code == 0
    topics = Topics("farm1", shared, device)
    assert load(tmp_path / "s/devices/pump-1.toml", {}).wire_topics() == topics
    assert ServerFiles(tmp_path / "s").settings({}).topic_names() == topics
    rules = (tmp_path / "s/mosquitto/acl").read_text()
    assert "topic write dt/acme/things/pump-1/fl/u\n" in rules
    assert "topic read dt/acme/things/+/fl/u\n" in rules
    assert "g1/" not in rules
    run("fleet", "init", "f", "--state", "t", "--device-topic", "x/{kind}").refused("device topic template")
    words = ("--shared-topic", "u/{kind}", "--device-topic", "{kind}/{device}")
    run("fleet", "init", "f", "--state", "t", *words).refused("topic templates")
    assert not (tmp_path / "t").exists()


def test_revoke_asks(fleet: Path) -> None:
    refused = apart("fleet", "revoke", "pump-1", "--state", fleet, stdin=b"n\n")
    assert refused.code == 1
    assert "revoke pump-1?" in refused.out + refused.err
    assert apart("fleet", "revoke", "pump-1", "--state", fleet, stdin=b"y\n").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("fleet", "list"), ("fleet", "revoke", "x", "--yes"), ("fleet", "enroll", "x", "--trainer", "m:f"),
        ("job", "list"), ("job", "export", "gait", "m.npz"), ("job", "create", "j.toml", "--trainer", "m:f"),
        ("serve",), ("bridge", "run"), ("aggregator", "run"),
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_no_fleet_there(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    run(*words, "--state", "nowhere").refused("nowhere", "gossamer fleet init")
    empty = tmp_path / "empty"
    empty.mkdir()
    run(*words, "--state", empty).refused("gossamer fleet init")
    assert not list(empty.iterdir()), "looking for a fleet makes nothing"


def test_the_module_refuses_in_one_line(tmp_path: Path) -> None:
    apart("fleet", "list", "--state", tmp_path / "nowhere").refused("no configuration file")


def test_a_class_that_may_be_a_slip_of_the_pen_is_said(run: Run, fleet: Path) -> None:
    enrolled = ("fleet", "enroll", "--trainer", "m:f", "--state", fleet)
    slip = run(*enrolled, "pump-2", "--profile", "pi-zero-2")
    assert slip.code == 0
    assert "no profile pi-zero-2 is known here" in slip.err
    assert "did you mean pi-zero-2w?" in slip.err
    assert "is known here" not in run(*enrolled, "pump-3", "--profile", "pi-zero-2w").err


def test_enrol_refusals_leave_nothing(run: Run, fleet: Path) -> None:
    run("fleet", "enroll", "pump-1", "--trainer", "m:f", "--state", fleet).refused("enrolled already", "revoke")
    for words, text in [
        (("a/b", "--trainer", "m:f"), "device: expected"),
        (("pump-2", "--trainer", "mf"), "package.module:factory"),
        (("pump-2", "--trainer", "m:f", "--option", "data"), "expected KEY=VALUE"),
        (("pump-2", "--trainer", "m:f", "--option", "=3"), "expected KEY=VALUE"),
        (("pump-2", "--trainer", "m:f", "--option", "a b=3"), "KEY a parameter"),
        (("pump-2", "--trainer", "m:f", "--option", "class\n=3"), "expected KEY=VALUE"),
        (("pump-2", "--trainer", "m:f", "--port", "0"), "port from 1 to 65535"),
        (("pump-2", "--trainer", "m:f", "--host", "example.org"), "plaintext"),
    ]:
        run("fleet", "enroll", *words, "--state", fleet).refused(text)
    assert [each.name for each in (fleet / "devices").iterdir()] == ["pump-1.toml"]
    assert len(json.loads(run("fleet", "list", "--state", fleet, "--json").out)) == 1
    run("fleet", "revoke", "pump-9", "--yes", "--state", fleet).refused("no device pump-9", "fleet list")


def test_any_text_is_carried_in_the_file(run: Run, fleet: Path) -> None:
    text = 'a "b" \\ \n\t\x01\x7f é ='
    assert run("fleet", "enroll", "p", "--trainer", "m:f", "--option", f"t={text}", "--state", fleet).code == 0
    assert load(fleet / "devices/p.toml", {}).trainer_options == {"t": text}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("farm 1",), "fleet: expected 1 to"),
        (("much-too-long",), "fleet: expected 1 to"),
        (("farm1", "--port", "99999"), "port from 1 to 65535"),
        (("farm1", "--host", ""), "expected a host name"),
        (("farm1", "--host", "broker.example"), "plaintext"),
    ],
)
def test_init_refusals_leave_nothing(run: Run, tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    run("fleet", "init", *words, "--state", "s").refused(text)
    assert not (tmp_path / "s").exists()
    run("fleet", "init", *words, "--state", "s", "--no-accounts").refused(text)


def test_init_twice(run: Run, fleet: Path) -> None:
    run("fleet", "init", "farm1", "--state", fleet).refused("holds a fleet already")


def test_init_that_was_cut_short_is_repeated(run: Run, tmp_path: Path) -> None:
    assert run("fleet", "init", "farm1", "--state", "s").code == 0
    key = (tmp_path / "s/fleet.key").read_text()
    (tmp_path / "s/server.toml").unlink()  # it is written last
    assert run("fleet", "init", "farm1", "--state", "s").code == 0
    assert (tmp_path / "s/fleet.key").read_text() == key
    assert (tmp_path / "s/mosquitto/passwords").read_text().count("\n") == 1


def test_secrets_are_private(run: Run, tmp_path: Path) -> None:
    run("fleet", "init", "farm1", "--state", "s")
    run("fleet", "enroll", "a", "--trainer", "m:f", "--state", "s")
    for name in ("fleet.key", "server.toml", "devices/a.toml", "mosquitto/passwords", "mosquitto/acl"):
        assert stat.S_IMODE((tmp_path / "s" / name).stat().st_mode) == 0o600, name


def test_a_job_from_create_to_export(run: Run, fleet: Path, mine: str, tmp_path: Path) -> None:
    words = ("job", "create", "job.toml", "--trainer", mine, "--state", fleet, "--json")
    tried = json.loads(run(*words, "--dry-run").out)
    assert (tried["created"], tried["parameters"]) == (False, 9)
    assert "no jobs yet" in run("job", "list", "--state", fleet).out
    made = json.loads(run(*words).out)
    assert made == {**tried, "created": True}
    assert run(*words).code == 0, "the same job again changes nothing"
    (row,) = json.loads(run("job", "list", "--state", fleet, "--json").out)
    assert (row["name"], row["state"], row["rounds"], row["model_version"]) == ("gait", "open", 2, 0)
    told = json.loads(run("job", "export", "gait", "m.npz", "--state", fleet, "--json").out)
    assert told["model_digest"] == made["model_digest"]
    import numpy as np

    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        assert sorted(array.shape for array in arrays.values()) == [(2, 3), (3,)]
    run("job", "export", "gate", "m.npz", "--state", fleet).refused("no job 'gate'", "job list")
    (tmp_path / "job.toml").write_text(JOB + "seed = 5\n")
    run(*words).refused("taken")


def test_a_job_whose_codec_is_chosen_for_it(run: Run, fleet: Path, mine: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB + 'codec_up = "auto"\ncodec_down = "auto"\n')
    words = ("job", "create", "job.toml", "--trainer", mine, "--state", fleet)
    tried = json.loads(run(*words, "--dry-run", "--json").out)
    assert tried["created"] is False
    for key in ("codec_up", "codec_down"):
        assert codec(tried[key]).spec == tried[key] in tried["why"]
    assert "a participation" in tried["why"]
    assert "no jobs yet" in run("job", "list", "--state", fleet).out
    shown = run(*words).out
    assert tried["codec_up"] in shown
    assert "why" in shown
    (tmp_path / "job.toml").write_text(JOB + 'codec_up = "auto"\n')
    run(*words).refused("codec_up and codec_down", "'auto'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('codec_up = "randk:0.1/fp16"', ("ef21 needs a codec",)), ('rule = "median"', ("rule 'mean'", "'median'")),
        ('codec_up = "hist:20"', ("other than hist",)), ('codec_up = "auto"\ncodec_down = "auto"', ("'auto'",)),
    ],
)  # fmt: skip
def test_what_ef21_cannot_go_with(
    run: Run, fleet: Path, mine: str, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "job.toml").write_text(f'{JOB}memory = "ef21"\n{text}\n')
    run("job", "create", "job.toml", "--trainer", mine, "--state", fleet, "--dry-run").refused(
        "memory = 'ef21'", *words
    )


def test_the_installed_script_finds_a_trainer_in_the_working_directory(fleet: Path, mine: str, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("gossamer")
    if not script.exists():
        pytest.fail("gossamer is not installed as a script here")
    command = [script, "job", "create", "job.toml", "--trainer", mine, "--state", fleet, "--dry-run"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JOB + "round = 3\n", ("unknown key round",)),
        (JOB + "[fit]\nepochs = 3\n", ("unknown key fit.epochs",)),
        (JOB + 'codec_up = "foo"\n', ("expected a codec like", "'foo'")),
        (JOB + 'rule = "foo"\n', ("rule 'foo' is not known", "median")),
        (JOB + 'server_step = "foo"\n', ("foo",)),
        ('name = "gait"\n', ("rounds is missing",)),
        ('name = "gait"\nrounds = "2"\n', ("rounds = '2': expected int",)),
        (JOB + 'fleet = "other"\n', ("fleet 'other'", "farm1")),
        ("name = gait", ("cannot be read as TOML",)),
    ],
)
def test_job_files_that_cannot_be(
    run: Run, fleet: Path, mine: str, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "job.toml").write_text(text)
    run("job", "create", "job.toml", "--trainer", mine, "--state", fleet).refused(*words)
    assert json.loads(run("job", "list", "--state", fleet, "--json").out) == []


def test_trainers_that_cannot_be(run: Run, fleet: Path, mine: str) -> None:
    words = ("job", "create", "job.toml", "--state", fleet, "--trainer")
    run(*words, "nothere_cli:f").refused("no module named nothere_cli")
    run(*words, "mine_cli:nobody").refused("has no 'nobody'")
    run(*words, "mine_cli:nothing").refused("returned int", code=1)
    run(*words, mine, "--option", "fail=true").refused("FileNotFoundError: sample.npz")
    run(*words, mine, "--option", "colour=3").refused("TypeError", "colour")
    run("job", "create", "none.toml", "--trainer", mine, "--state", fleet).refused("none.toml", "write one")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("a=3", ("a", 3)), ("a=0.5", ("a", 0.5)), ("a=true", ("a", True)), ("a=false", ("a", False)), ("a=", ("a", "")),
        ("a=b=c", ("a", "b=c")), ("a=True", ("a", "True")),
    ],
)  # fmt: skip
def test_options_become_what_they_look_like(text: str, pair: tuple[str, object]) -> None:
    key, value = parse_option(text)
    assert (key, value, type(value)) == (*pair, type(pair[1]))


def test_an_option_needs_a_key() -> None:
    for text in ("", "a", "=1", "1a=1", "a-b=1", "ä=1"):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            parse_option(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--broker", "http://x"), "--broker 'http://x': expected mqtt://HOST:PORT"),
        (("--broker", "mqtt://"), "expected mqtt://HOST:PORT"),
        (("--codec", "foo"), "expected a codec like"),
        (("--codec-down", "ternary:7"), "ternary"),
        (("--rule", "foo"), "rule 'foo' is not known; choose one of: mean"),
        (("--data", "foo"), "data must be 'watch' or 'digits', got 'foo'"),
        (("--attackers", "1", "--attack", "foo"), "--attack 'foo': expected one of sign-flip"),
        (("--attackers", "10"), "--attackers 10: expected fewer than devices"),
        (("--devices", "1"), "--devices 1: expected 2 to 100"),
        (("--rounds", "0"), "--rounds 0: expected 1 or more"),
        (("--cohorts", "0"), "--cohorts 0"),
        (("--seed", "-1"), "--seed -1"),
        (("--method", "foo"), "method 'foo' is not known; choose one of: fedavg"),
        (("--method", "scallion:0.5/0.3", "--codec", "sign"), "expected an unbiased codec_up such as rot1"),
        (("--method", "scafcom:0.5/0.3", "--attackers", "1"), "expected one of fedavg, fednova"),
        (("--participation", "never"), "choose one of: reshuffled"),
        (("--server-step", "foo"), "foo"),
        (("--epsilon", "-1"), "--epsilon -1.0"),
        (("--epsilon", "8", "--rule", "median"), "rule = 'median' does not go with the table [privacy]"),
        (("--json", "nowhere/f.json"), "does not exist; create it first"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_demo_refusals_leave_nothing(run: Run, tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    ended = run("demo", *words, "--dir", "run")
    ended.refused(text)
    assert ended.out == ""
    assert not (tmp_path / "run").exists()


def test_demo_keeps_off_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    apart("demo", "--dir", tmp_path).refused("is not empty and holds no demo run; choose another --dir")
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_broker_and_agent_refusals(run: Run, tmp_path: Path) -> None:
    run("broker", "--certificate", "c.pem").refused("--certificate and --key belong together")
    assert run("agent", "run", "--config", "none.toml").code == 2
