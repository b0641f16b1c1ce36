"""One optimizer for K trials, each of which steps by the settings of its own lone optimizer.

On a CPU each trial's step is the very kernel that torch's fused optimizers run, over its slices of
the stacked tensors, and so gives the same bits. Elsewhere a call a trial would cost more than the
arithmetic, and the same formulas run over the whole stack (``formulas.py``).
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mnist_lab.training.lightning_internals import fused_adam, fused_adamw, fused_sgd
from mnist_lab.training.stacked.formulas import Formulas

Moments = dict[str, list[Tensor]]
MOMENTS = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}
"""State that each optimizer keeps of every parameter."""


class StackedOptimizer(Optimizer):
    """Steps K trials.

    Args:
        name: adam, adamw or sgd.
        parameters: stacked parameters ``(K, ...)``.
        own: for each trial an optimizer of its own with one group, whose settings it goes by, as a
            schedule changes them; its parameters stand in the order of the stacked ones.
    """

    def __init__(
        self, name: str, parameters: Sequence[torch.nn.Parameter], own: Sequence[Optimizer]
    ) -> None:
        super().__init__(list(parameters), {})
        self.name = name
        self.own = list(own)
        self.parameters = list(parameters)
        self.steps_taken = 0
        groups = [optimizer.param_groups[0] for optimizer in own]
        has_moments = name != "sgd" or any(group["momentum"] for group in groups)
        self.moments: Moments = {
            moment: [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
            for moment in (MOMENTS[name] if has_moments else ())
        }
        self.has_changed = True  # settings, since a GPU was sent them
        self._formulas = Formulas(name, self.parameters[0].device)
        self._places: list[int] = []  # in memory, of the tensors that are sliced
        self._slices: list[tuple[list[Tensor], ...]] = []

    def load(self, position: int, state: dict[str, Any], steps: int) -> None:
        """Restore the trial at this position from what ``write_back`` returned after the steps."""
        own, self.steps_taken = self.own[position], steps
        own.load_state_dict(state)
        for number, parameter in enumerate(own.param_groups[0]["params"]):
            for name, value in own.state[parameter].items():
                if name in self.moments:
                    self.moments[name][number][position] = value
        own.state.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all trials by their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.prepare()
        self.apply()
        return loss

    def prepare(self) -> None:
        """Count a step, and on a GPU send it the settings."""
        self.steps_taken += 1
        if self._is_on_cpu:
            return
        self._formulas.count(self.steps_taken)
        if self.has_changed:
            self._formulas.send([own.param_groups[0] for own in self.own])
            self.has_changed = False

    @torch.no_grad()
    def apply(self) -> None:
        """Step all trials once ``prepare`` was called; on a GPU by what is on it alone."""
        if self._is_on_cpu:
            self._step_one_by_one()
            return
        gradients = [_gradient(parameter) for parameter in self.parameters]
        moments = list(self.moments.values())
        self._formulas.step(self.parameters, gradients, moments, self.steps_taken == 1)

    @property
    def _is_on_cpu(self) -> bool:
        return self.parameters[0].device.type == "cpu"

    def keep(self, positions: list[int]) -> None:
        """Keep the trials at these positions, without the others."""
        chosen = torch.tensor(positions, dtype=torch.long, device=self.parameters[0].device)
        for tensors in self.moments.values():
            tensors[:] = [tensor[chosen] for tensor in tensors]
        self.own = [self.own[position] for position in positions]
        self._places, self.has_changed = [], True

    def write_back(self, position: int, stacked: Moments) -> dict[str, Any]:
        """Return the state of the trial at this position, as its own optimizer would have it.

        ``stacked`` are ``moments``, or a copy of them on another device.
        """
        own = self.own[position]
        group = own.param_groups[0]
        names = stacked if self.name != "sgd" or group["momentum"] else ()
        for number, parameter in enumerate(group["params"]):
            if not self.steps_taken or not names:
                break
            moments = {name: stacked[name][number][position] for name in names}
            moments = {name: _laid_out(moment, parameter) for name, moment in moments.items()}
            if self.name != "sgd":
                count = torch.tensor(float(self.steps_taken), device=moments["exp_avg"].device)
                moments = {"step": count, **moments}
            own.state[parameter] = moments
        state = own.state_dict()
        own.state.clear()
        return state

    def _step_one_by_one(self) -> None:
        count = [torch.tensor(float(self.steps_taken))] * len(self.parameters)
        for own, (gradients, parameters, *moments) in zip(self.own, self._trials(), strict=True):
            group = own.param_groups[0]
            if self.name == "sgd":
                fused_sgd(
                    parameters,
                    gradients,
                    moments[0] if group["momentum"] else [],
                    weight_decay=group["weight_decay"],
                    momentum=group["momentum"],
                    lr=group["lr"],
                    dampening=group["dampening"],
                    nesterov=group["nesterov"],
                    maximize=False,
                    is_first_step=self.steps_taken == 1 and bool(group["momentum"]),
                )
                continue
            step = fused_adam if self.name == "adam" else fused_adamw
            beta1, beta2 = group["betas"]
            step(
                parameters,
                gradients,
                moments[0],
                moments[1],
                [],
                count,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _trials(self) -> list[tuple[list[Tensor], ...]]:
        """Return for each trial its slices of the gradients, the parameters and each moment.

        Slices are taken anew only of tensors that are not the ones of the step before.
        """
        gradients = [_gradient(parameter) for parameter in self.parameters]
        tensors = [*gradients, *self.parameters, *itertools.chain(*self.moments.values())]
        places = [tensor.data_ptr() for tensor in tensors]
        if places != self._places:
            self._places = places
            each = zip(*(tensor.detach().unbind() for tensor in tensors), strict=True)
            size = len(self.parameters)
            self._slices = [
                tuple(list(group) for group in zip(*[iter(slices)] * size, strict=True))
                for slices in each
            ]
        return self._slices


def _laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy of a moment with its parameter's strides, which fused kernels rely on."""
    return torch.empty_like(parameter, device=moment.device, requires_grad=False).copy_(moment)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
