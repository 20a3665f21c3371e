"""What of a torch model travels, what stays, and how one becomes the other.

Parameters with ``requires_grad`` travel, each once however often it is tied. Frozen parameters and buffers stay on the
device, but for running statistics that are said to be shared.

Weights travel with their inputs first and their outputs last, a convolution's taps before both; torch has the outputs
first and the taps last. So a matrix has the shape that it has in numpy and TFLite, `gossamer.compression.layout` can be
told the grid of its inputs, and the same network written for numpy and for torch is one model, with one digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gossamer.agent.trainer import Array, Weights
from gossamer.errors import InputError
from gossamer.trainers.common import check_shapes, uniform

BUFFERS = ("local", "frozen", "shared")
NORMS = ("running_mean", "running_var")
VARIANCE_FLOOR = 1e-5
"""Added before the logarithm in which a running variance travels: torch's own eps."""
MAX_LOG = 30.0


class State:
    """The arrays of a model that travel, and the rest as it was given."""

    def __init__(self, model: Any, changing: dict[str, tuple[Any, str]], buffers: str | None) -> None:
        self.model = model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise InputError("the model has no parameter with requires_grad: there is nothing to train")
        for name, p in self.parameters.items():
            if not p.is_floating_point():
                raise InputError(f"parameter {name} is {p.dtype}: only floating-point parameters can travel")
        self.shared = {name: where for name, where in changing.items() if buffers == "shared"}
        self._frozen_statistics = changing if buffers == "frozen" else {}
        self._buffers = {name: each.detach().clone() for name, each in model.named_buffers()}
        self.given = self.weights()
        self.shapes = [w.shape for w in self.given]

    def weights(self) -> Weights:
        """Copies of what travels, float32."""
        arrays = [_outward(p) for p in self.parameters.values()]
        return arrays + [_statistic_outward(*where) for where in self.shared.values()]

    def gradients(self) -> Weights:
        """Of the parameters, zeros where the loss did not reach."""
        return [_outward(torch.zeros_like(p) if p.grad is None else p.grad) for p in self.parameters.values()]

    def load(self, weights: Weights) -> None:
        """Put weights in, and everything else back as it was given. Raises `LayoutMismatch`."""
        check_shapes(weights, self.shapes, "this torch model")
        with torch.no_grad():
            for name, each in self.model.named_buffers():
                each.copy_(self._buffers[name])
            for p, w in zip(self.parameters.values(), weights, strict=False):
                p.copy_(inward(w))
                p.grad = None
            for (owner, name), w in zip(self.shared.values(), weights[len(self.parameters) :], strict=True):
                _statistic_inward(owner, name, w)

    def drawn(self, seed: int) -> Weights:
        """First weights from a seed: the same bits on every machine that was given the same model.

        An array whose elements are all equal stays as it is (ones of a norm's scale, zeros of an adapter's second
        matrix); of other vectors those named weight become ones, as a trained norm's must, and the rest zero; what is
        left is uniform by its number of inputs. Where something is frozen, its digest is part of the seed: devices with
        other frozen weights make another version 0, and are told so.
        """
        frozen = self._frozen_digest()
        rng = np.random.Generator(np.random.PCG64([seed, frozen] if frozen else seed))
        weights = [_drawn(rng, name, each) for name, each in zip(self.parameters, self.given, strict=False)]
        statistics = zip(self.shared.items(), self.given[len(self.parameters) :], strict=True)
        return weights + [_first_statistic(name, own, each) for (name, (_, own)), each in statistics]

    def _frozen_digest(self) -> int:
        kept = {name: p for name, p in self.model.named_parameters() if not p.requires_grad}
        kept.update({name: getattr(*where) for name, where in self._frozen_statistics.items()})
        if not kept:
            return 0
        digest = hashlib.sha256()
        for name, each in kept.items():
            digest.update(name.encode())
            digest.update(each.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return int.from_bytes(digest.digest()[:8], "big")


def check_model(model: Any) -> None:
    """Raise `InputError` for what is no model, or none yet."""
    if not isinstance(model, torch.nn.Module):
        came = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise InputError(f"model: expected a torch.nn.Module, got {came}")
    for name, each in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(each, torch.nn.parameter.UninitializedTensorMixin):
            raise InputError(f"{name} has no shape yet: run one batch through the model before")


def changing_buffers(model: Any, x: Any) -> dict[str, tuple[Any, str]]:
    """Floating-point buffers that a forward pass in training mode changes: name -> (module, name in it).

    Found by trying, with parameters a little off: running statistics are changed, tables of positions are not, and the
    vectors of a spectral norm are also when they had converged. Leaves the model as it was.
    """
    before = {name: each.detach().clone() for name, each in model.named_buffers()}
    if not any(each.is_floating_point() for each in before.values()):
        return {}
    was_training = model.training
    given = [(p, p.detach().clone()) for p in model.parameters() if p.is_floating_point()]
    with repeatable(0), torch.no_grad():
        for p, _ in given:
            p.mul_((0.9 + 0.2 * torch.rand(p.shape)).to(device=p.device, dtype=p.dtype))
        model.train()
        model(x)
        for p, values in given:
            p.copy_(values)
        model.train(was_training)
        changed = {}
        for name, each in model.named_buffers():
            if each.is_floating_point() and not torch.equal(each, before[name]):
                owner, _, own = name.rpartition(".")
                changed[name] = (model.get_submodule(owner), own)
            each.copy_(before[name])
    return changed


def check_choice(buffers: str | None, changing: dict[str, tuple[Any, str]]) -> None:
    """Raise `InputError` unless it has been said what becomes of the changing buffers, if there are any."""
    if buffers is not None and buffers not in BUFFERS:
        raise InputError(f"buffers must be one of {', '.join(BUFFERS)}, got {buffers!r}")
    if changing and buffers is None:
        names = list(changing)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise InputError(
            f"training this model changes buffers that are no parameters: {shown}. Say what becomes of them: "
            "buffers='local' (each device computes its own from its own data, nothing is sent), 'frozen' (as given, "
            "for pretrained models), 'shared' (they travel and are averaged); or use GroupNorm or LayerNorm, which "
            "keep none"
        )


def recompute(model: Any, changing: dict[str, tuple[Any, str]], inputs: Iterator[Any]) -> None:
    """Set running statistics to the averages over ``inputs``, everything else in evaluation mode.

    Norms start afresh and weigh every batch alike, as torch.optim.swa_utils.update_bn does; a buffer of another module
    goes on from where it is. Ends in evaluation mode.
    """
    owners = list({id(owner): owner for owner, _ in changing.values()}.values())
    momenta = [getattr(owner, "momentum", None) for owner in owners]
    model.eval()
    for owner in owners:
        if hasattr(owner, "reset_running_stats"):
            owner.reset_running_stats()
            owner.momentum = None
        owner.training = True
    with torch.no_grad():
        for x in inputs:
            model(x)
    for owner, momentum in zip(owners, momenta, strict=True):
        if hasattr(owner, "reset_running_stats"):
            owner.momentum = momentum
    model.eval()


@contextlib.contextmanager
def repeatable(seed: int, device: Any = None) -> Iterator[None]:
    """Every generator a model or a Dataset may draw from starts at ``seed``, deterministic algorithms only.

    Afterwards all of them are as they were.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            random.setstate(python)
            np.random.set_state(numpy)


def _drawn(rng: np.random.Generator, name: str, given: Array) -> Array:
    if given.size == 0 or (given == given.flat[0]).all():
        return np.array(given)
    if given.ndim < 2:
        return np.ones_like(given) if name.rpartition(".")[2] == "weight" else np.zeros_like(given)
    return uniform(rng, given.shape, math.prod(given.shape[:-1]))


def _first_statistic(name: str, own: str, given: Array) -> Array:
    """What has one value stays; means and (logarithms of) variances of a norm begin at zero."""
    if given.size == 0 or (given == given.flat[0]).all():
        return np.array(given)
    if own not in NORMS:
        raise InputError(
            f"buffer {name} cannot be drawn, and shared it needs a start that is the same everywhere: choose "
            "buffers='local', or start='given'"
        )
    return np.zeros_like(given)


def _outward(tensor: Any) -> Array:
    array = tensor.detach().to(device="cpu", dtype=torch.float32).numpy()
    return np.array(array.transpose(_turned(array.ndim)), order="C")


def inward(array: Array) -> Any:
    """A tensor of torch's order of axes, float32 on the CPU."""
    given = np.asarray(array, dtype=np.float32)
    return torch.from_numpy(np.array(given.transpose(np.argsort(_turned(given.ndim))), order="C"))


def _turned(dimensions: int) -> tuple[int, ...]:
    """Torch's axes (outputs, inputs, taps...) in the order (taps..., inputs, outputs)."""
    return tuple(range(dimensions)) if dimensions < 2 else (*range(2, dimensions), 1, 0)


def _statistic_outward(owner: Any, name: str) -> Array:
    """A running variance travels as its logarithm: whatever compression does to it, it comes back positive."""
    array = getattr(owner, name).detach().to(device="cpu", dtype=torch.float32).numpy()
    return np.array(np.log(array + np.float32(VARIANCE_FLOOR)) if name == "running_var" else array)


def _statistic_inward(owner: Any, name: str, array: Array) -> None:
    given = np.asarray(array, dtype=np.float32)
    if name == "running_var":
        given = np.maximum(np.exp(np.clip(given, -MAX_LOG, MAX_LOG)) - np.float32(VARIANCE_FLOOR), 0)
    getattr(owner, name).copy_(torch.from_numpy(np.array(given)))
