"""Layers that hold the weights of K networks of one shape and compute them side by side.

On a CPU each trial gets the bits that it would get alone. In MKL's strict mode, which the package
sets, an element of a product has the same bits whatever stands beside it: a batched product, and
one of a batch with the weights of all trials that share it, have the bits of single ones. Only
small products on several threads are another matter; those, and activations whose last elements
torch computes otherwise than the rest, such as tanh, are computed trial by trial. On other devices
all trials go in one call, and agree with lone ones up to rounding.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

Shares = tuple[int, ...]  # for each batch the number of trials, in order, that see it
_NARROW = 128  # columns of a product up to which one for all trials is faster than one for each
_SAME_IN_ANY_PLACE = (nn.ReLU, nn.Identity)  # an element's bits do not depend on its position


class StackedLinear(nn.Module):
    """K linear layers of one shape."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked([layer.weight for layer in layers])  # (K, out, in)
        self.bias = _stacked([layer.bias for layer in layers])  # (K, out)
        self._gradient_buffers: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor, shares: Shares) -> Tensor:
        """Return ``(K, B, out)`` for ``(S, B, in)``: S batches, each shared by so many trials."""
        outputs: Tensor = _Linear.apply(inputs, self.weight, self.bias, shares, self)
        return outputs

    @property
    def gradient_buffers(self) -> dict[str, Tensor]:
        """Where gradients are written: ``weight`` ``(K, out, in)`` and ``bias`` ``(K, out)``.

        A buffer is allocated anew when its parameter has changed shape, as trials leave.
        """
        buffers = self._gradient_buffers
        for name, parameter in self.named_parameters():
            buffer = buffers.get(name)
            if (
                buffer is None
                or buffer.shape != parameter.shape
                or buffer.device != parameter.device
            ):
                buffers[name] = torch.empty_like(parameter, requires_grad=False)
        return buffers


class StackedBatchNorm(nn.Module):
    """K batch norms of one width, over ``(K, B, features)``."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__()
        self.weight = _stacked([layer.weight for layer in layers])  # (K, features)
        self.bias = _stacked([layer.bias for layer in layers])
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([getattr(layer, name) for layer in layers]))
        momentum = layers[0].momentum
        assert momentum is not None
        self.momentum, self.eps = momentum, layers[0].eps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(K, B, features)``, each trial's features normalised over its batch."""
        if self.training:
            self.num_batches_tracked.add_(1)
        if inputs.device.type != "cpu":
            return self._together(inputs)
        slices = zip(inputs.unbind(), *(tensor.unbind() for tensor in self._state), strict=True)
        return torch.stack([self._normalised(*trial) for trial in slices])

    @property
    def _state(self) -> tuple[Tensor, ...]:
        return self.running_mean, self.running_var, self.weight, self.bias

    def _together(self, inputs: Tensor) -> Tensor:
        trials, batch, features = inputs.shape
        wide = inputs.transpose(0, 1).reshape(batch, trials * features)
        wide = self._normalised(wide, *(tensor.view(-1) for tensor in self._state))
        return wide.view(batch, trials, features).transpose(0, 1).contiguous()

    def _normalised(
        self, inputs: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        return F.batch_norm(
            inputs, mean, variance, weight, bias, self.training, self.momentum, self.eps
        )


class StackedActivation(nn.Module):
    """An activation without weights, of the module that a lone network has."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.is_whole = isinstance(activation, _SAME_IN_ANY_PLACE)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(K, B, features)``."""
        if self.is_whole or inputs.device.type != "cpu":
            outputs: Tensor = self.activation(inputs)
            return outputs
        return torch.stack([self.activation(trial) for trial in inputs.unbind()])


class StackedDropout(nn.Module):
    """Dropout by a rate of each trial's own.

    Args:
        rates: for each trial the probability that a unit is left out.
        generators: for each trial what draws its masks on a CPU; elsewhere the first one's
            ``seeded_by`` draws all.
    """

    def __init__(self, rates: Sequence[float], generators: list[Generator]) -> None:
        super().__init__()
        self.rates = list(rates)
        self.generators = generators
        self._sent: tuple[list[float], Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(K, B, features)``, where training with units left out and the rest scaled."""
        if not self.training or not any(self.rates):
            return inputs
        if inputs.device.type != "cpu":
            return self._together(inputs)
        noise = torch.ones_like(inputs)
        for part, rate, generator in zip(noise, self.rates, self.generators, strict=True):
            if rate:  # torch's own dropout, with a generator
                part.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        return inputs * noise

    def _together(self, inputs: Tensor) -> Tensor:
        if self._sent is None or self._sent[0] != self.rates:  # to the device, which is waited for
            kept = torch.tensor([1 - rate for rate in self.rates])
            self._sent = self.rates, kept.to(inputs)[:, None, None]
        kept = self._sent[1]
        return inputs * ((torch.rand_like(inputs) < kept) / kept)

    def keep(self, positions: list[int], generators: list[Generator]) -> None:
        """Keep the trials at these positions, without the others."""
        self.rates = [self.rates[position] for position in positions]
        self.generators = generators


class _Linear(torch.autograd.Function):
    """The product of a linear layer, which writes its gradients into the layer's buffers.

    Autograd would lay them out otherwise than the weights, and allocate memory at every step.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        inputs, weight, bias, shares, layer = arguments
        ctx.save_for_backward(inputs, weight)
        ctx.shares, ctx.layer = shares, layer
        outputs = inputs.new_empty(len(weight), inputs.shape[1], weight.shape[1])
        for batch, *block in _blocks(shares, inputs, outputs, weight, bias):
            _multiply_weights(batch, *block)
        return cast(Tensor, outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        layer, gradient = ctx.layer, gradients[0].contiguous()  # (K, B, out)
        to_inputs = None
        if ctx.needs_input_grad[0]:  # not those of the first layer, so that no batch is shared
            to_inputs = _multiply(torch.empty_like(inputs), gradient, weight)
        buffers = layer.gradient_buffers
        turned = gradient.transpose(1, 2)
        for batch, out, left in _blocks(ctx.shares, inputs, buffers["weight"], turned):
            _multiply_gradients(batch, out, left)
        layer.weight.grad = buffers["weight"]
        layer.bias.grad = torch.sum(gradient, 1, out=buffers["bias"])
        return to_inputs, None, None, None, None


def _blocks(shares: Shares, batches: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield each batch ``(B, in)`` with the parts of others that belong to the trials that see it.

    Where each trial has a batch of its own, all come at once ``(K, B, in)``.
    """
    if len(shares) == len(others[0]):
        yield batches, *others
        return
    ends = itertools.accumulate(shares)
    for batch, count, end in zip(batches, shares, ends, strict=True):
        yield batch, *(other[end - count : end] for other in others)


def _multiply_weights(batch: Tensor, out: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Write the outputs ``(K, B, out)`` of trials for the batch that they share, or one of each.

    The batch is ``(B, in)`` or ``(K, B, in)``, the weight ``(K, out, in)``, the bias ``(K, out)``.
    """
    if _is_one_product(batch, out, inner=batch.shape[-1], columns=weight.shape[1]):
        product = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, 1), batch.t())
        out.copy_(product.view(*weight.shape[:2], -1).transpose(1, 2))
    else:
        _multiply(out, batch.expand(len(out), -1, -1), weight.transpose(1, 2), bias[:, None])


def _multiply_gradients(batch: Tensor, out: Tensor, gradient: Tensor) -> None:
    """Write the gradients ``(K, out, in)``, contiguous, of the weights, for batches as above.

    The gradient of the outputs is ``(K, out, B)``.
    """
    if _is_one_product(batch, out, inner=batch.shape[-2], columns=gradient.shape[1]):
        torch.mm(gradient.reshape(-1, len(batch)), batch, out=out.view(-1, batch.shape[1]))
    else:
        _multiply(out, gradient, batch.expand(len(out), -1, -1))


def _is_one_product(batch: Tensor, out: Tensor, inner: int, columns: int) -> bool:
    """Return whether trials that share a batch are computed in one product with it."""
    on_cpu = out.device.type == "cpu"
    return on_cpu and batch.ndim == 2 and columns <= _NARROW and _is_exact_in_one_call(out, inner)


def _multiply(out: Tensor, left: Tensor, right: Tensor, rows: Tensor | None = None) -> Tensor:
    """Write left ``(K, m, k)`` times right ``(K, k, n)``, plus rows ``(K, 1, n)``, into ``out``."""
    if not _is_exact_in_one_call(out, left.shape[2]):
        for number, product in enumerate(out):
            if rows is None:
                torch.mm(left[number], right[number], out=product)
            else:
                torch.addmm(rows[number, 0], left[number], right[number], out=product)
    elif rows is None:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(rows, left, right, out=out)
    return out


def _is_exact_in_one_call(out: Tensor, inner: int) -> bool:
    """Return whether products ``(K, m, n)`` over an inner dimension have the bits of single ones.

    torch multiplies what takes fewer than 400 multiplications itself when it comes in a batch. On
    several threads MKL divides a single product whose result is small so that its bits change,
    also in strict mode; the bounds lie above all shapes that were seen to differ.
    """
    if out.device.type != "cpu":
        return True
    _, m, n = out.shape
    threads = torch.get_num_threads()
    if threads == 1:
        return bool(m * n * inner >= 400)
    return bool(m * n >= 512 * threads and min(m, n) >= 2 * threads)


def _stacked(tensors: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([tensor.detach() for tensor in tensors]))
