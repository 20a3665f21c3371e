"""Training of any ``torch.nn.Module`` on a device's own data.

Five lines in a script that has a model and data::

    trainer = TorchTrainer(model, torch.nn.functional.cross_entropy, (x, y), held_out=(x_test, y_test))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gossamer.agent.trainer import Array, FitConfig, FitResult, Weights
from gossamer.errors import ConfigError, InputError, TrainerFailed
from gossamer.trainers.common import (
    EVALUATE_BATCH,
    Metric,
    batches,
    check_loss,
    chosen,
    figures,
    fit_generator,
    framework_seed,
)

try:
    import torch
except ModuleNotFoundError as error:
    raise ConfigError("TorchTrainer needs torch: pip install 'gossamer[torch]'") from error

from gossamer.trainers.torch_data import Rows, rows_of
from gossamer.trainers.torch_state import (
    State,
    changing_buffers,
    check_choice,
    check_model,
    inward,
    recompute,
    repeatable,
)

MakeOptimizer = Callable[[list[Any], float], Any]
"""(parameters, learning rate of the round) -> torch.optim.Optimizer."""


class TorchTrainer:
    """Minibatch training of ``model``; what travels are its parameters with ``requires_grad``.

    ``loss(outputs, targets)`` gives the mean over a batch. ``data`` and ``held_out`` are a pair (x, y) of tensors or
    arrays, a Dataset with a length, or a DataLoader, whose dataset and collate function are used while order and batch
    size are the job's. Without ``held_out`` the training data are judged.

    ``optimizer(parameters, learning_rate)`` is called for every fit (None: plain SGD); nothing of it outlives the fit.
    ``metric(outputs, targets)`` judges in the place of accuracy. ``buffers`` says what becomes of running statistics;
    a model that has some is refused without it: "local", "frozen" or "shared" (`gossamer.trainers.torch_state`).

    ``start`` is model version 0: "drawn" from the job's seed, not by torch's generator, or "given", the model as it is,
    which must then be the same on every device and is checked against the digest that the server has signed.

    Raises `InputError` for what does not fit together.
    """

    def __init__(
        self,
        model: Any,
        loss: Callable[[Any, Any], Any],
        data: Any,
        held_out: Any = None,
        *,
        optimizer: MakeOptimizer | None = None,
        metric: Metric | None = None,
        buffers: str | None = None,
        start: str = "drawn",
        axes: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        if start not in ("drawn", "given"):
            raise InputError(f"start must be 'drawn' or 'given', got {start!r}")
        check_model(model)
        self.model, self.loss, self.metric = model, loss, metric
        self.data = rows_of(data, "data")
        self.held_out = self.data if held_out is None else rows_of(held_out, "held_out")
        self.axes = {number: tuple(sides) for number, sides in (axes or {}).items()}
        self._make_optimizer = optimizer
        self._start = start
        parameter = next(iter(model.parameters()), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device
        self._changing = changing_buffers(model, self._batch(self.data, np.arange(min(2, len(self.data))))[0])
        check_choice(buffers, self._changing)
        self._buffers = buffers if self._changing else None
        self._state = State(model, self._changing, self._buffers)
        # Terms are defined for steps of plain SGD, and for parameters alone.
        self.adds_terms = optimizer is None and self._buffers != "shared"

    def initial(self, seed: int) -> Weights:
        """See `gossamer.agent.trainer.Trainer`."""
        return [np.array(w) for w in self._state.given] if self._start == "given" else self._state.drawn(seed)

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """See `gossamer.agent.trainer.Trainer`. Raises `TrainerFailed` at the first loss that is no number.

        A last batch of one example goes with the one before where the model has running statistics, which need two.
        """
        self._state.load(weights)
        parameters = list(self._state.parameters.values())
        optimizer = (self._make_optimizer or _sgd)(parameters, config.learning_rate)
        terms, rng = _Terms(weights, config, parameters), fit_generator(config)
        loss, steps = 0.0, 0
        with repeatable(framework_seed(config), self._device):
            self._training_mode()
            for epoch in range(config.local_epochs):
                losses, sizes = [], []
                order = rng.permutation(len(self.data))
                for number, rows in enumerate(batches(order, config.batch_size, least=2 if self._changing else 1)):
                    optimizer.zero_grad()
                    value = self._loss(rows)
                    losses.append(float(value.detach()))
                    sizes.append(len(rows))
                    check_loss(losses[-1], config, epoch, number)
                    value.backward()
                    terms.add()
                    optimizer.step()
                loss, steps = float(np.average(losses, weights=sizes)), steps + len(sizes)
        return FitResult(self._state.weights(), len(self.data), loss, steps)

    def gradient(self, weights: Weights, config: FitConfig, batch: int | None) -> FitResult:
        """See `gossamer.agent.trainer.GradientTrainer`. Raises `TrainerFailed` where running statistics are shared."""
        if self._buffers == "shared":
            raise TrainerFailed("shared running statistics have no gradient: choose buffers='local', or another method")
        self._state.load(weights)
        rows = chosen(len(self.data), config, batch)
        losses, sizes = [], []
        with repeatable(framework_seed(config), self._device):
            self._training_mode()
            for part in batches(rows, EVALUATE_BATCH, least=2 if self._changing else 1):
                value = self._loss(part)
                (value * (len(part) / len(rows))).backward()
                losses.append(float(value.detach()))
                sizes.append(len(part))
        return FitResult(self._state.gradients(), len(self.data), float(np.average(losses, weights=sizes)))

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """``loss``, ``examples`` and ``accuracy``, or what ``metric`` gives, on the held-out examples.

        With ``buffers="local"`` one pass over the training data comes first, which computes the running statistics of
        these weights: a child process ends with its fit, and what it had would be of other weights.
        """
        self._state.load(weights)
        losses, sizes, outputs, targets = [], [], [], []
        with repeatable(0, self._device), torch.no_grad():
            if self._buffers == "local":
                parts = batches(np.arange(len(self.data)), EVALUATE_BATCH, least=2)
                recompute(self.model, self._changing, (self._batch(self.data, rows)[0] for rows in parts))
            self.model.eval()
            for rows in batches(np.arange(len(self.held_out)), EVALUATE_BATCH):
                x, y = self._batch(self.held_out, rows)
                found = self.model(x)
                losses.append(float(self.loss(found, y)))
                sizes.append(len(rows))
                outputs.append(_on_cpu(found, "the model's output"))
                targets.append(_on_cpu(y, "targets"))
        found, y = torch.cat(outputs), torch.cat(targets)
        judged = _accuracy(found, y, self.loss) if self.metric is None else self.metric(found, y)
        return {"loss": float(np.average(losses, weights=sizes)), **figures(judged, len(self.held_out))}

    def _batch(self, data: Rows, rows: Array) -> tuple[Any, Any]:
        return data.batch(rows, self._device)

    def _loss(self, rows: Array) -> Any:
        x, y = self._batch(self.data, rows)
        value = self.loss(self.model(x), y)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            came = f"the shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise InputError(f"loss(outputs, targets): expected a scalar tensor, the mean over the batch, got {came}")
        return value.reshape(())

    def _training_mode(self) -> None:
        self.model.train()
        if self._buffers == "frozen":
            for owner, _ in self._changing.values():
                owner.training = False


class _Terms:
    """A method's terms, added to the gradients where they are."""

    def __init__(self, start: Weights, config: FitConfig, parameters: list[Any]) -> None:
        self._parameters = parameters
        self._proximal = config.proximal
        self._correction = None if config.correction is None else self._like(config.correction)
        self._start = self._like(start) if config.proximal else []

    def add(self) -> None:
        """To every gradient, also to one that the loss did not reach."""
        if self._correction is None and not self._proximal:
            return
        with torch.no_grad():
            for number, p in enumerate(self._parameters):
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                if self._correction is not None:
                    p.grad += self._correction[number]
                if self._proximal:
                    p.grad += self._proximal * (p - self._start[number])

    def _like(self, arrays: Weights) -> list[Any]:
        paired = zip(self._parameters, arrays, strict=True)
        return [inward(array).to(device=p.device, dtype=p.dtype) for p, array in paired]


def _sgd(parameters: list[Any], learning_rate: float) -> Any:
    return torch.optim.SGD(parameters, learning_rate)


def _on_cpu(value: Any, what: str) -> Any:
    if not isinstance(value, torch.Tensor):
        raise InputError(f"evaluate: expected {what} to be one tensor, got {type(value).__name__}")
    return value.detach().cpu()


def _accuracy(outputs: Any, targets: Any, loss: Any) -> float:
    """Share of examples whose class has the largest output, or on whose side of 0 a single output is."""
    whole = not targets.is_floating_point()
    if whole and outputs.ndim == targets.ndim + 1:
        return float((outputs.argmax(dim=1) == targets).double().mean())
    logits = isinstance(loss, torch.nn.BCEWithLogitsLoss) or (
        loss is torch.nn.functional.binary_cross_entropy_with_logits
    )
    if logits and outputs.numel() == targets.numel():
        return float(((outputs.reshape(-1) > 0) == (targets.reshape(-1) > 0.5)).double().mean())
    raise InputError(
        f"evaluate: outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype} are no "
        "classes: give TorchTrainer a metric(outputs, targets)"
    )
