"""The codec benchmark in a quick form, without the peers: its records, and that its sizes are those of real bodies."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import codecs
from benchmarks.codec_bounds import bound_bits, rate_distortion_bits, sparse_bits
from benchmarks.codec_contexts import contexts_for
from benchmarks.codec_peers.run import _bound, _record
from benchmarks.codec_updates import FederationState, states
from gossamer.compression import REGISTRY, codec, decode

ROUNDS = (1, 2)
FIELDS = {
    "federation": str, "round": int, "codec": str, "peer": bool, "parameters": int, "bytes": float,
    "bits_per_parameter": float, "nmse": float, "encode_ms_per_million": float, "decode_ms_per_million": float,
    "bound_bits": float, "bound": str, "rate_distortion_bits": float | None,
}  # fmt: skip
QUICK = ("fp32", "q4", "sign", "rot1:ls", "ternary:0.02", "topk:0.01/q4")


@pytest.fixture(scope="module")
def measured() -> list[FederationState]:
    """Two rounds of the smartwatch CNN, 3,316 parameters."""
    return list(states("watch-cnn", ROUNDS, seed=0))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "codecs.json", tmp_path / "codecs.png"
    arguments = ["--federations", "watch-cnn", "--rounds", "1,2", "--without-peers", "--repetitions", "1"]
    arguments += ["--codecs", ",".join(QUICK), "--json", str(out), "--plot", str(plot)]
    assert codecs.main(arguments) == 0
    records = json.loads(out.read_text())
    assert [(record["round"], record["codec"]) for record in records] == [(r, c) for r in ROUNDS for c in QUICK]
    for record in records:
        assert set(record) == set(FIELDS)
        assert all(isinstance(record[name], kind) for name, kind in FIELDS.items())
        assert record["federation"] == "watch-cnn"
        assert record["parameters"] == 3316
        assert not record["peer"]
        assert record["encode_ms_per_million"] > 0 < record["decode_ms_per_million"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "ternary:0.02" in capsys.readouterr().out


def test_every_registered_codec_is_measured() -> None:
    specs = codecs.all_specs()
    assert {spec for method in REGISTRY.methods for spec in method.examples} <= set(specs)
    assert len(set(specs)) == len(specs)


@pytest.mark.parametrize("spec", QUICK)
def test_sizes_and_errors_are_of_real_bodies(spec: str, measured: list[FederationState]) -> None:
    state = measured[-1]
    record = codecs.measure(spec, state, 1)
    bodies = [codec(spec).encode(x, seed=seed) for seed, x in enumerate(state.updates)]
    size = sum(map(len, bodies)) / len(bodies)
    assert record["bytes"] == pytest.approx(size, abs=0.1)
    assert record["bits_per_parameter"] == pytest.approx(8 * size / 3316)
    errors = [
        np.linalg.norm(x - decode(body, 3316)) ** 2 / np.linalg.norm(x) ** 2
        for x, body in zip(state.updates, bodies, strict=True)
    ]
    assert record["nmse"] == pytest.approx(np.mean(errors), rel=1e-4, abs=1e-12)
    assert record["bits_per_parameter"] > record["bound_bits"]


def test_updates_are_of_the_round_they_say(measured: list[FederationState]) -> None:
    for number, state in zip(ROUNDS, measured, strict=True):
        assert state.round == number == len(state.models)
        assert state.updates.shape == (10, state.layout.size)
        assert state.updates.dtype == np.float32
        assert all(update.any() for update in state.updates)
    again = next(iter(states("watch-cnn", ROUNDS[:1], seed=0)))
    assert np.array_equal(again.updates, measured[0].updates)


def test_bounds() -> None:
    assert rate_distortion_bits(0.25) == 1.0
    assert rate_distortion_bits(0.0) is None
    assert rate_distortion_bits(13.6) == 0.0
    for d, k in ((10, 3), (100, 50), (5, 5)):
        assert sparse_bits(d, k, 4) == pytest.approx((math.log2(math.comb(d, k)) + 4 * k) / d, abs=1e-9)
    assert bound_bits(codec("ternary:0.02"), 100, 2.0, 0.5) == (sparse_bits(100, 2, 1), "positions and values")
    assert bound_bits(codec("rot2"), 100, 100.0, 0.13) == (2.0, "bits of a code")


def test_a_codec_without_its_context_is_named_and_left_out(
    measured: list[FederationState], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(codecs, "contexts_for", lambda _spec, _state: codecs.NOTHING)
    records = codecs.own_records(measured[:1], ["sign", "hist:400"], 1)
    assert [record["codec"] for record in records] == ["sign"]
    assert "hist:400 left out" in capsys.readouterr().err


def test_what_a_peer_answers_becomes_a_record(measured: list[FederationState]) -> None:
    state = measured[0]
    answer = {
        "name": "watch-cnn-1", "codec": "OpenFL Eden 2 bit", "bytes": [1000, 1002], "nmse": [0.1, 0.2],
        "encode_seconds": 0.5, "decode_seconds": 0.25, "timed_parameters": 2_000_000,
    }  # fmt: skip
    record = codecs.rounded(_record(answer, state))
    assert set(record) == set(FIELDS)
    assert record["peer"]
    assert record["bits_per_parameter"] == pytest.approx(8 * 1001 / 3316, rel=1e-4)
    assert (record["encode_ms_per_million"], record["decode_ms_per_million"]) == (250.0, 125.0)
    assert (record["nmse"], record["bound_bits"]) == (0.15, 2.0)
    assert _bound("OpenFL STC p=0.1", state, 0.9)[1] == "positions and values"
    assert _bound("NVFlare AdaQuant + bz2", state, 0.25) == (1.0, "rate-distortion")


def test_contexts_are_by_round(measured: list[FederationState]) -> None:
    assert contexts_for("sign", measured[0]) is codecs.NOTHING
