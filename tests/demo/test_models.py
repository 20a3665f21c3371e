"""The hand-written gradients, against differences; first weights, against stored bits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gossamer.demo.models import MLP, Conv1d, WatchCNN

MODELS = {"watch": (WatchCNN(), (100, 6), 7, 3316), "digits": (MLP(hidden=32), (64,), 10, 2410)}
# SHA-256 over the little-endian float32 of init(7): the same on every machine, or devices that start from
# their own version 0 would not hold the same model.
FIRST_WEIGHTS = {"watch": "8a68b26076c48428", "digits": "7750b7dd190d8a0e"}


@pytest.fixture(params=MODELS)
def case(request):
    return request.param, *MODELS[request.param]


def batch(shape, classes, n=12, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, classes, n)


def test_size(case):
    _, model, _, _, parameters = case
    weights = model.init(0)
    assert sum(w.size for w in weights) == parameters
    assert all(w.dtype == np.float32 for w in weights)


def test_first_weights_are_pinned_to_the_bit(case):
    name, model, *_ = case
    raw = b"".join(w.astype("<f4").tobytes() for w in model.init(7))
    assert hashlib.sha256(raw).hexdigest()[:16] == FIRST_WEIGHTS[name]


def test_gradients_are_those_of_the_loss(case):
    _, model, shape, classes, _ = case
    x, y = batch(shape, classes)
    x = x.astype(np.float64)
    weights = [w.astype(np.float64) for w in model.init(3)]
    _, gradients = model.loss_and_gradients(weights, x, y)
    rng = np.random.default_rng(0)
    for w, gradient in zip(weights, gradients, strict=True):
        assert gradient.shape == w.shape
        direction = rng.standard_normal(w.shape)
        h = 1e-6
        w += h * direction
        above, _ = model.loss_and_gradients(weights, x, y)
        w -= 2 * h * direction
        below, _ = model.loss_and_gradients(weights, x, y)
        w += h * direction
        assert (above - below) / (2 * h) == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-8)


def test_float32_stays_float32(case):
    _, model, shape, classes, _ = case
    loss, gradients = model.loss_and_gradients(model.init(0), *batch(shape, classes))
    assert type(loss) is float
    assert all(g.dtype == np.float32 for g in gradients)


def test_prediction_does_not_depend_on_how_examples_are_batched(case):
    _, model, shape, classes, _ = case
    x, _ = batch(shape, classes, n=600)
    weights = model.init(1)
    whole = model.predict(weights, x)
    assert whole.shape == (600,)
    np.testing.assert_array_equal(whole[:300], model.predict(weights, x[:300]))


def test_loss_of_huge_logits_is_finite(case):
    _, model, shape, classes, _ = case
    loss, gradients = model.loss_and_gradients([w * 1000 for w in model.init(0)], *batch(shape, classes))
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize(("taps", "stride", "t"), [(5, 2, 100), (3, 1, 7), (4, 3, 13)])
def test_unfold_is_convolution_and_fold_its_adjoint(taps, stride, t):
    conv = Conv1d(taps, stride)
    rng = np.random.default_rng(2)
    x, kernel = rng.standard_normal((2, t, 3)), rng.standard_normal((taps, 3))
    columns = conv.unfold(x)
    naive = [[(x[i, s : s + taps] * kernel).sum() for s in range(0, t - taps + 1, stride)] for i in range(2)]
    np.testing.assert_allclose(columns @ kernel.reshape(-1), naive)
    other = rng.standard_normal(columns.shape)
    assert (columns * other).sum() == pytest.approx((x * conv.fold(other, t)).sum())
