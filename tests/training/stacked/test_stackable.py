"""Which models are stacked, and how many in one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_code import Model
from stack_trials import trainer
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mnist_lab.models import CNN, MLP, Classifier, Module, SoftmaxRegression
from mnist_lab.training.stacked import stackable
from mnist_lab.training.stacked.stackable import stacking


class OwnStep(Model):
    """Has a step of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx)


class Perceptron(MLP):
    """As an MLP, with an optimizer of its own."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Hooked(Model):
    """Has a small network, and hooks of a kind.

    Args:
        where: what has the hooks.
        clips: whether they clip gradients; else they add to them.
    """

    def __init__(self, where: str, clips: bool = True) -> None:
        super().__init__()
        inner = Hooks(self.change) if where == "activations" else nn.ReLU()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 9), inner, nn.Linear(9, 10))
        self.clips = clips
        if where == "weights":
            self.net[1].weight.register_hook(self.change)
        elif where == "steps":
            self.net[1].weight.register_post_accumulate_grad_hook(lambda _: None)
        elif where == "layers":
            self.net[1].register_full_backward_pre_hook(lambda _, given: (self.change(given[0]),))
        elif where == "forward":
            self.net[1].register_forward_hook(lambda _layer, _given, units: units * 0.5)

    def change(self, gradient: Tensor) -> Tensor:
        return gradient.clamp(-0.1, 0.1) if self.clips else gradient + 0.1


class Hooks(nn.Module):
    """Gives its activations a hook."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, units: Tensor) -> Tensor:
        if units.requires_grad:
            units.register_hook(self.change)
        return units


def hooked_mlp() -> MLP:
    model = MLP([4])
    model.net.register_forward_hook(lambda *_: None)
    return model


def frozen_mlp() -> MLP:
    model = MLP([4])
    next(model.parameters()).requires_grad_(False)
    return model


def normed(model: Any) -> Any:
    """Return a model whose linear layers have spectral norm."""
    for layer in [part for part in model.modules() if type(part) is nn.Linear]:
        spectral_norm(layer)
    return model


def tiny(**settings: Any) -> CNN:
    return CNN([2, 2], 3, 2, [4], **settings)


def own(name: str) -> Module:
    return Module(net={"_target_": f"own_code.{name}"})


@pytest.mark.parametrize(
    ("model", "stack", "reason"),
    [
        (MLP([4]), "exact", None),
        (tiny(batch_norm=True, dropout=0.2), "auto", None),
        (own("Net"), "auto", None),
        (CNN([8, 8], 3, 2, [4]), "always", None),
        (CNN([8, 8], 3, 2, [4]), "auto", "CNN is not stacked on a CPU, as one by one is faster"),
        (tiny(), "exact", "CNN is not stacked exactly, only MLP and SoftmaxRegression are"),
        (tiny(optimizer={"amsgrad": True}), "auto", "optimizer.amsgrad is not stacked"),
        (torch.nn.Linear(1, 1), "always", "Linear is not stacked, as it is no Classifier"),
        (OwnStep(), "always", "OwnStep is not stacked, as its training_step is its own"),
        (Perceptron([4]), "auto", "Perceptron is not stacked, as its configure_optimizers is its"),
        (Hooked("none"), "auto", None),
        (Hooked("forward"), "auto", None),
        (Hooked("weights"), "auto", "Hooked is not stacked, as it has hooks"),
        (Hooked("steps"), "auto", "Hooked is not stacked, as it has hooks"),
        (Hooked("layers"), "auto", "Hooked is not stacked, as it has hooks"),
        *(
            (Hooked("activations", clips), "auto", "torch.func cannot stack Hooked: its gradients")
            for clips in (True, False)
        ),
        (hooked_mlp(), "auto", "MLP is not stacked, as it has hooks"),
        (frozen_mlp(), "auto", "MLP is not stacked, as some of its weights are frozen"),
        (MLP([4], noise=0.3), "auto", "MLP is not stacked, as GaussianNoise has no"),
        (normed(MLP([4])), "always", "MLP is not stacked, as ParametrizedLinear has no stacked"),
        (normed(own("Net")), "auto", "torch.func cannot stack Module"),
        (own("Branching"), "auto", "torch.func cannot stack Module: vmap: It looks like you're"),
    ],
)
def test_why_not(model: Any, stack: str, reason: str | None) -> None:
    before = torch.get_rng_state()
    found, size = stacking(model, trainer(), 50, stack)
    assert found is None if reason is None else str(found).startswith(reason)
    assert (size > 1) == (reason is None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_only_what_torch_func_stacks_has_other_precisions(precision: str) -> None:
    assert stacking(tiny(), trainer(precision=precision), 50)[0] is None
    reason, _ = stacking(SoftmaxRegression(), trainer(precision=precision), 50)
    assert str(reason).startswith(f"trainer.precision={precision} is not stacked, only 32-true")


def test_memory_bounds_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(model: Classifier, batch_size: int) -> int:
        return stacking(model, trainer(), batch_size, "always")[1]

    # Two convolutions, pooled, keep about 30 kB an image; 411,000 parameters take 6.6 MB.
    assert 20 < size(tiny(), 128) < 200
    assert size(tiny(), 1024) < size(tiny(), 128) / 4
    assert size(CNN(), 1) == stackable.max_stack(CNN(), torch.device("cpu"))
    monkeypatch.setattr(stackable, "_CPU_MEMORY", 10_000_000)
    assert size(CNN(), 128) == 1
