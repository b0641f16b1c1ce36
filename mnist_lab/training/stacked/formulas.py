"""Adam, AdamW and SGD over the stacked tensors of K trials, for a GPU.

A kernel a trial would take longer to launch than to run there. Each trial's settings stand in a
table on the device: what a step computes is on the device alone, and a CUDA graph can hold it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_ADAM = ("lr", "weight_decay", "eps", "beta1", "beta2")
_SGD = ("lr", "weight_decay", "momentum", "dampening", "nesterov")


class Formulas:
    """Steps stacked parameters as each trial's own optimizer would.

    Args:
        name: adam, adamw or sgd.
        device: of the parameters.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        dtype = torch.float32 if device.type == "mps" else torch.float64  # which MPS has not
        # A row for each setting, a column for each trial.
        self._table = torch.empty(0, dtype=dtype, device=device)
        self._steps = torch.zeros((), dtype=dtype, device=device)

    def count(self, steps: int) -> None:
        """Note the optimizer steps taken, the coming one included."""
        self._steps.fill_(float(steps))

    def send(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Send the trials' settings to the device, without waiting for it.

        ``groups`` has for each trial the one group of its own optimizer.
        """
        names = _SGD if self.name == "sgd" else _ADAM[:3]
        rows = [[float(group[name]) for group in groups] for name in names]
        if self.name != "sgd":
            rows += [[float(group["betas"][which]) for group in groups] for which in (0, 1)]
        sent = torch.tensor(rows, dtype=self._table.dtype)
        if self._table.shape != sent.shape:
            self._table = sent.to(self._table.device)
        else:
            is_cuda = self._table.device.type == "cuda"
            self._table.copy_(sent.pin_memory() if is_cuda else sent, non_blocking=True)

    def step(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        moments: Sequence[Sequence[Tensor]],
        is_first: bool,
    ) -> None:
        """Step parameters ``(K, ...)``; ``moments`` has a list of as many tensors for each kind."""
        its = dict(zip(_SGD if self.name == "sgd" else _ADAM, self._table, strict=True))
        if self.name == "adamw":
            its["kept"] = 1 - its["lr"] * its["weight_decay"]  # of a weight
        if self.name == "sgd":
            its["undampened"] = 1 - its["dampening"]
        else:
            bias = (1 - its["beta2"] ** self._steps).sqrt()
            its["step_size"] = its["lr"] / (1 - its["beta1"] ** self._steps) * bias
            its["eps"] = its["eps"] * bias
            its["mean_share"], its["square_share"] = 1 - its["beta1"], 1 - its["beta2"]
        of_type = {name: value.to(parameters[0].dtype) for name, value in its.items()}
        for number, parameter in enumerate(parameters):
            shape = (-1, *(1 for _ in parameter.shape[1:]))
            own = {name: value.view(shape) for name, value in of_type.items()}
            gradient, kept = gradients[number], [tensors[number] for tensors in moments]
            if self.name == "adamw":
                parameter.mul_(own["kept"])
            else:
                gradient = gradient.addcmul(parameter, own["weight_decay"])
            if self.name == "sgd":
                parameter.addcmul_(_sgd_update(gradient, kept, own, is_first), -own["lr"])
            else:
                parameter.addcmul_(_adam_update(gradient, kept, own), -own["step_size"])


def _adam_update(gradient: Tensor, moments: Sequence[Tensor], its: Mapping[str, Tensor]) -> Tensor:
    mean, square = moments
    mean.lerp_(gradient, its["mean_share"])
    square.lerp_(gradient.square(), its["square_share"])
    return mean / square.sqrt().add_(its["eps"])


def _sgd_update(
    gradient: Tensor, moments: Sequence[Tensor], its: Mapping[str, Tensor], is_first: bool
) -> Tensor:
    if not moments:
        return gradient
    (buffer,) = moments
    if is_first:
        buffer.copy_(gradient)
    else:
        buffer.mul_(its["momentum"]).add_(gradient * its["undampened"])
    ahead = gradient.addcmul(buffer, its["momentum"])
    return torch.where(its["nesterov"] > 0, ahead, buffer)
