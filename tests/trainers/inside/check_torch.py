"""Torch's own: what travels and what stays, whatever data come in, what is refused. Runs where torch is."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from benchmarks.trainers_side import torch_model
from gossamer.agent.trainer import FitConfig
from gossamer.agent.work import first_model
from gossamer.demo.models import WatchCNN
from gossamer.errors import InputError, TrainerFailed
from gossamer.trainers.torch import TorchTrainer
from tests.trainers.zoo import SEED, adapted, make, part

ENTROPY = functional.cross_entropy
X = np.random.Generator(np.random.PCG64(0)).standard_normal((33, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def config(**changes: Any) -> FitConfig:
    return FitConfig(**{"local_epochs": 2, "batch_size": 8, "learning_rate": 0.1, "seed": 7, "round": 2, **changes})


def bits(weights: list[Any]) -> list[bytes]:
    return [w.tobytes() for w in weights]


def small(*middle: Any) -> Any:
    return nn.Sequential(nn.Linear(6, 5), *middle, nn.ReLU(), nn.Linear(5, 3))


# -- what travels


def test_running_statistics_never_travel_silently() -> None:
    with pytest.raises(InputError, match=r"1\.running_mean, 1\.running_var\. Say .*'local'.*'frozen'.*'shared'"):
        TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y))
    with pytest.raises(InputError, match="one of local, frozen, shared"):
        TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y), buffers="mine")


def test_buffers_that_do_not_change_need_no_word() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.linspace(0, 1, 6))

        def forward(self, x: Any) -> Any:
            return x + self.table

    trainer = TorchTrainer(nn.Sequential(Positions(), small()), ENTROPY, (X, Y))
    assert [w.shape for w in trainer.initial(1)] == [(6, 5), (5,), (5, 3), (3,)]


def test_a_custom_running_statistic_is_found() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("largest", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            if self.training:
                self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
            return x / self.largest.clamp(min=1.0)

    with pytest.raises(InputError, match=r"0\.largest"):
        TorchTrainer(nn.Sequential(Scale(), small()), ENTROPY, (X, Y))
    trainer = TorchTrainer(nn.Sequential(Scale(), small()), ENTROPY, (X, Y), buffers="local")
    start = trainer.initial(1)
    assert bits(trainer.fit(start, config()).weights) == bits(trainer.fit(start, config()).weights)
    trainer.evaluate(start)
    assert float(trainer.model[0].largest) == pytest.approx(float(np.abs(X).max()))


def test_local_statistics_are_those_of_the_weights_that_are_judged() -> None:
    trainer = TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y), buffers="local")
    weights = trainer.fit(trainer.initial(SEED), config()).weights
    first = trainer.evaluate(weights)
    other = TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y), buffers="local")  # as in a fresh child process
    assert other.evaluate(weights) == first
    inner = X @ weights[0] + weights[1]
    np.testing.assert_allclose(trainer.model[1].running_mean.numpy(), inner.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(trainer.model[1].running_var.numpy(), inner.var(axis=0, ddof=1), rtol=1e-5)
    assert trainer.model[1].momentum == 0.1


def test_frozen_statistics_stay_as_given() -> None:
    model = small(nn.BatchNorm1d(5))
    model[1].running_mean.fill_(0.25)
    trainer = TorchTrainer(model, ENTROPY, (X, Y), buffers="frozen")
    trainer.fit(trainer.initial(SEED), config())
    assert (model[1].running_mean == 0.25).all()
    again = small(nn.BatchNorm1d(5))
    assert bits(TorchTrainer(again, ENTROPY, (X, Y), buffers="frozen").initial(1)) != bits(trainer.initial(1))


def test_shared_statistics_come_back_positive_whatever_became_of_them() -> None:
    trainer = TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y), buffers="shared")
    weights = trainer.fit(trainer.initial(SEED), config()).weights
    assert len(weights) == 6 + 2
    trainer.evaluate(weights)
    measured = trainer.model[1].running_var.clone()
    assert (measured != 1).any()
    np.testing.assert_allclose(np.exp(weights[-1]) - 1e-5, measured.numpy(), rtol=1e-5)
    trainer.evaluate([*weights[:-1], weights[-1] - 100])
    assert (trainer.model[1].running_var >= 0).all()
    assert not trainer.adds_terms
    with pytest.raises(TrainerFailed, match="no gradient"):
        trainer.gradient(weights, config(), None)


def test_a_last_batch_of_one_is_no_trap_for_norms() -> None:
    trainer = TorchTrainer(small(nn.BatchNorm1d(5)), ENTROPY, (X, Y), buffers="local")
    assert trainer.fit(trainer.initial(1), config()).steps == 2 * 4  # 33 = 8 + 8 + 8 + 9


def test_frozen_layers_and_adapters_send_what_trains() -> None:
    trainer = make("torch-adapter")
    start = trainer.initial(SEED)
    assert [w.shape for w in start] == [(64, 4), (4, 32), (32, 10), (10,)]
    assert start[0].any()
    assert not start[1].any(), "an adapter begins as nothing"
    base = trainer.model.base.weight.clone()
    after = trainer.fit(start, config()).weights
    assert all((a != s).any() for a, s in zip(after, start, strict=True))
    assert torch.equal(trainer.model.base.weight, base)


def test_another_frozen_part_is_another_version_0() -> None:
    own = part()
    model = adapted()
    with torch.no_grad():
        model.base.weight[0, 0] += 1e-3
    other = TorchTrainer(model, ENTROPY, (own.x, own.y))
    assert first_model(other, SEED, 0).digest != first_model(make("torch-adapter"), SEED, 0).digest


def test_a_frozen_number_is_part_of_version_0_too() -> None:
    class Tempered(nn.Module):
        def __init__(self, temperature: float) -> None:
            super().__init__()
            self.net = small()
            self.temperature = nn.Parameter(torch.tensor(temperature), requires_grad=False)

        def forward(self, x: Any) -> Any:
            return self.net(x) * self.temperature

    one, two = (TorchTrainer(Tempered(each), ENTROPY, (X, Y)).initial(1) for each in (1.0, 2.0))
    assert bits(one) != bits(two)


def test_shared_statistics_that_cannot_be_drawn_are_refused() -> None:
    """A spectral norm's vectors would be zero, and the first loss NaN."""
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3), n_power_iterations=200))
    given = bits([p.detach().numpy() for p in model.parameters()])
    with pytest.raises(InputError, match=r"_u cannot be drawn.*buffers='local', or start='given'"):
        TorchTrainer(model, ENTROPY, (X, Y), buffers="shared").initial(1)
    assert bits([p.detach().numpy() for p in model.parameters()]) == given
    trainer = TorchTrainer(model, ENTROPY, (X, Y), buffers="local")
    assert np.isfinite(trainer.fit(trainer.initial(1), config()).loss)


def test_tied_parameters_travel_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(6, 6, bias=False)
            self.other = nn.Linear(6, 6, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x: Any) -> Any:
            return self.other(torch.tanh(self.one(x)))

    trainer = TorchTrainer(Tied(), ENTROPY, (X, Y))
    after = trainer.fit(trainer.initial(1), config()).weights
    assert len(after) == 1
    assert trainer.model.one.weight is trainer.model.other.weight


def test_convolutions_travel_inputs_first_and_come_back() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 1, 3))
    images = X.reshape(33, 2, 3)
    trainer = TorchTrainer(model, ENTROPY, (images, Y), start="given")
    given = trainer.initial(0)
    assert given[0].shape == (3, 2, 4)
    kept = model[0].weight.clone()
    trainer.evaluate(given)
    assert torch.equal(model[0].weight, kept)


def test_a_convolution_is_the_one_that_numpy_unfolds() -> None:
    numpys = WatchCNN()
    x = np.random.Generator(np.random.PCG64(1)).standard_normal((5, 100, 6)).astype(np.float32)
    trainer = TorchTrainer(torch_model("watch"), ENTROPY, (x, np.arange(5)))
    weights = numpys.init(SEED)
    assert bits(trainer.initial(SEED)) == bits(weights)
    trainer.evaluate([w.reshape(shape) for w, shape in zip(weights, trainer._state.shapes, strict=True)])
    outputs = trainer.model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs, numpys.logits(weights, x), atol=1e-5)


# -- the start


def test_the_drawn_start_is_not_torchs() -> None:
    torch.manual_seed(1)
    one = TorchTrainer(small(nn.LayerNorm(5)), ENTROPY, (X, Y))
    torch.manual_seed(2)
    other = TorchTrainer(small(nn.LayerNorm(5)), ENTROPY, (X, Y))
    assert bits(one.initial(3)) == bits(other.initial(3))
    weight, bias, scale, shift, *_ = one.initial(3)
    assert weight.any()
    assert not bias.any()
    assert (scale == 1).all()
    assert not shift.any()


def test_a_trained_model_does_not_start_dead() -> None:
    model = small(nn.LayerNorm(5))
    TorchTrainer(model, ENTROPY, (X, Y)).fit(TorchTrainer(model, ENTROPY, (X, Y)).initial(3), config())
    assert (TorchTrainer(model, ENTROPY, (X, Y)).initial(3)[2] == 1).all()


def test_the_given_start_is_the_model() -> None:
    model = small()
    trainer = TorchTrainer(model, ENTROPY, (X, Y), start="given")
    assert (trainer.initial(5)[0] == model[0].weight.detach().numpy().T).all()
    trainer.fit(trainer.initial(5), config())
    assert bits(trainer.initial(5)) == bits(trainer.initial(6))
    with pytest.raises(InputError, match="'drawn' or 'given'"):
        TorchTrainer(model, ENTROPY, (X, Y), start="pretrained")


# -- data


def sources() -> dict[str, Any]:
    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    return {
        "arrays": (X, Y),
        "float64": (X.astype(np.float64), Y.astype(np.int32)),
        "tensors": tensors,
        "dataset": TensorDataset(*tensors),
        "loader": DataLoader(TensorDataset(*tensors), batch_size=3, shuffle=True),
    }


@pytest.mark.parametrize("name", list(sources()))
def test_all_kinds_of_data_are_the_same_data(name: str) -> None:
    trainers = [TorchTrainer(small(), ENTROPY, sources()[each]) for each in ("arrays", name)]
    fitted = [trainer.fit(trainer.initial(1), config()) for trainer in trainers]
    assert bits(fitted[0].weights) == bits(fitted[1].weights)


def test_what_a_dataset_draws_is_repeated_and_left_alone() -> None:
    class Noisy(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, row: int) -> Any:
            noise = torch.randn(6) * 0.1 + random.random() * 0.1 + float(np.random.rand()) * 0.1
            return torch.from_numpy(X[row]) + noise, int(Y[row])

    trainer = TorchTrainer(small(nn.Dropout(0.5)), ENTROPY, Noisy())
    start = trainer.initial(1)
    first = trainer.fit(start, config())

    def drawn() -> list[float]:
        return [float(torch.rand(1)), random.random(), float(np.random.rand())]

    def seeded() -> None:
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(99)

    seeded()
    expected = drawn()
    seeded()
    assert bits(trainer.fit(start, config()).weights) == bits(first.weights)
    assert drawn() == expected
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ((X, Y[:-1]), "a target for each example and at least one, got 33 and 32"),
        ((X[:0], Y[:0]), "at least one"),
        ((np.array(["a"]), Y[:1]), "expected a pair of tensors or arrays of numbers: can't convert"),
        ((1.5, Y[:1]), "expected arrays of examples, got a single number"),
        (TensorDataset(torch.zeros(0, 6), torch.zeros(0)), "empty TensorDataset"),
        (iter([1]), "a stream has no order"),
        (X, r"as pairs \(input, target\)"),
    ],
)
def test_data_that_cannot_be_used(data: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        TorchTrainer(small(), ENTROPY, data)


def test_a_stream_is_refused() -> None:
    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter(zip(X, Y, strict=True))

    with pytest.raises(InputError, match="a stream has no order"):
        TorchTrainer(small(), ENTROPY, DataLoader(Stream()))


# -- optimizers, losses, metrics


def test_an_optimizer_of_ones_own_gets_what_trains_and_the_rounds_rate() -> None:
    seen: list[Any] = []

    def momentum(parameters: list[Any], rate: float) -> Any:
        seen.append((len(parameters), rate))
        return torch.optim.SGD(parameters, rate, momentum=0.9)

    trainer = TorchTrainer(small(), ENTROPY, (X, Y), optimizer=momentum)
    start = trainer.initial(1)
    plain = TorchTrainer(small(), ENTROPY, (X, Y)).fit(start, config()).weights
    assert bits(trainer.fit(start, config()).weights) == bits(trainer.fit(start, config()).weights) != bits(plain)
    assert seen == [(4, 0.1)] * 2
    assert not trainer.adds_terms


def test_a_diverging_fit_says_where() -> None:
    trainer = TorchTrainer(small(), ENTROPY, (X, Y))
    with pytest.raises(TrainerFailed, match=r"the loss became (nan|inf) in local epoch \d+ of 9, step \d, with learn"):
        trainer.fit(trainer.initial(1), config(local_epochs=9, learning_rate=1e20))


def test_regression_needs_a_metric() -> None:
    values = X[:, :1] * 2
    trainer = TorchTrainer(nn.Linear(6, 1), functional.mse_loss, (X, values))
    weights = trainer.fit(trainer.initial(1), config(local_epochs=30)).weights
    with pytest.raises(InputError, match="no classes: give TorchTrainer a metric"):
        trainer.evaluate(weights)
    judged = TorchTrainer(
        nn.Linear(6, 1), functional.mse_loss, (X, values),
        metric=lambda outputs, targets: {"mae": (outputs - targets).abs().mean()},
    )  # fmt: skip
    figures = judged.evaluate(weights)
    assert set(figures) == {"loss", "mae", "examples"}
    assert figures["mae"] < 0.1
    broken = TorchTrainer(nn.Linear(6, 1), functional.mse_loss, (X, values), metric=lambda *_: "good")
    with pytest.raises(InputError, match="metric: expected a number"):
        broken.evaluate(weights)


def test_one_logit_is_a_class_too() -> None:
    labels = (X[:, :1] > 0).astype(np.float32)
    trainer = TorchTrainer(nn.Linear(6, 1), nn.BCEWithLogitsLoss(), (X, labels))
    weights = trainer.fit(trainer.initial(1), config(local_epochs=60, learning_rate=1.0)).weights
    assert trainer.evaluate(weights)["accuracy"] > 0.9


def test_a_loss_by_example_is_refused() -> None:
    trainer = TorchTrainer(small(), lambda o, t: functional.cross_entropy(o, t, reduction="none"), (X, Y))
    with pytest.raises(InputError, match=r"expected a scalar tensor, the mean over the batch, got the shape \(8,\)"):
        trainer.fit(trainer.initial(1), config())


def test_models_that_cannot_be_trained() -> None:
    frozen = small()
    for p in frozen.parameters():
        p.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train"):
        TorchTrainer(frozen, ENTROPY, (X, Y))
    with pytest.raises(InputError, match="run one batch through"):
        TorchTrainer(nn.Sequential(nn.LazyLinear(3)), ENTROPY, (X, Y))
    with pytest.raises(InputError, match="run one batch through"):
        TorchTrainer(nn.Sequential(nn.Linear(6, 3), nn.LazyBatchNorm1d(affine=False)), ENTROPY, (X, Y))
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module, got the class Linear"):
        TorchTrainer(nn.Linear, ENTROPY, (X, Y))
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module, got NoneType"):
        TorchTrainer(None, ENTROPY, (X, Y))


def test_half_precision_travels_as_float32() -> None:
    trainer = TorchTrainer(nn.Linear(6, 3).to(torch.bfloat16), ENTROPY, (torch.from_numpy(X).to(torch.bfloat16), Y))
    after = trainer.fit(trainer.initial(1), config()).weights
    assert {w.dtype for w in after} == {np.dtype(np.float32)}
    assert all(np.isfinite(w).all() for w in after)
