"""Layers that hold the weights of K networks of one shape and compute them side by side.

On a CPU each trial gets the bits that it would get alone. A batched product sums in the same order
as a single one where both run on one thread, but a single one that is split over threads may sum in
another; so the first time that a shape comes up, both ways are tried on random numbers, and where
they differ the trials' products are made one by one. Where torch computes the last elements of a
tensor otherwise than the rest, as in tanh, trials always go one by one. Elsewhere than on a CPU all
trials go in one call, and agree with lone ones up to rounding.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

Shares = tuple[int, ...]  # for each batch the number of trials, in order, that see it
_Product = Callable[..., None]
_POOL = 65_537  # random numbers that products are tried on, over and over; drawing more is slow
_SAME_IN_ANY_PLACE = (nn.ReLU, nn.Identity)  # elements whose bits do not depend on their position


class StackedLinear(nn.Module):
    """K linear layers.

    Args:
        layers: the layers, all of one shape.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked([layer.weight for layer in layers])  # (K, out, in)
        self.bias = _stacked([layer.bias for layer in layers])  # (K, out)
        self._room: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor, shares: Shares) -> Tensor:
        """Return ``(K, B, out)`` for ``(S, B, in)``: S batches, each shared by so many trials."""
        outputs: Tensor = _Linear.apply(inputs, self.weight, self.bias, shares, self)
        return outputs

    @property
    def room(self) -> dict[str, Tensor]:
        """Where the gradients are written; new where the parameters have changed their shape."""
        for name, parameter in self.named_parameters():
            room = self._room.get(name)
            if room is None or room.shape != parameter.shape or room.device != parameter.device:
                self._room[name] = torch.empty_like(parameter, requires_grad=False)
        return self._room


class StackedBatchNorm(nn.Module):
    """K batch norms over ``(K, B, features)``.

    Args:
        layers: the layers, all of one width.
    """

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
        slices = zip(inputs.unbind(), *(one.unbind() for one in self._state), strict=True)
        return torch.stack([self._normalised(*one) for one in slices])

    @property
    def _state(self) -> tuple[Tensor, ...]:
        return self.running_mean, self.running_var, self.weight, self.bias

    def _together(self, inputs: Tensor) -> Tensor:
        trials, batch, features = inputs.shape
        wide = inputs.transpose(0, 1).reshape(batch, trials * features)
        wide = self._normalised(wide, *(one.view(-1) for one in self._state))
        return wide.view(batch, trials, features).transpose(0, 1).contiguous()

    def _normalised(
        self, inputs: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        return F.batch_norm(
            inputs, mean, variance, weight, bias, self.training, self.momentum, self.eps
        )


class StackedActivation(nn.Module):
    """An activation without weights.

    Args:
        activation: the module that a lone network has.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.is_whole = isinstance(activation, _SAME_IN_ANY_PLACE)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(K, B, features)``."""
        if self.is_whole or inputs.device.type != "cpu":
            outputs: Tensor = self.activation(inputs)
            return outputs
        return torch.stack([self.activation(one) for one in inputs.unbind()])


class StackedDropout(nn.Module):
    """Dropout by a rate of each trial's own.

    Args:
        rates: for each trial the probability that a unit is left out.
        generators: for each trial what draws its masks on a CPU; elsewhere torch's own draws all.
    """

    def __init__(self, rates: Sequence[float], generators: list[Generator]) -> None:
        super().__init__()
        self.rates = list(rates)
        self.generators = generators

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
        kept = torch.tensor([1 - rate for rate in self.rates]).to(inputs)[:, None, None]
        return inputs * ((torch.rand_like(inputs) < kept) / kept)

    def keep(self, positions: list[int], generators: list[Generator]) -> None:
        """Go on with the trials at these positions."""
        self.rates = [self.rates[position] for position in positions]
        self.generators = generators


class _Linear(torch.autograd.Function):
    """The product, which writes its gradients where the layer keeps room for them.

    Autograd would lay them out otherwise than the weights, and take new memory at every step.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        inputs, weight, bias, shares, layer = arguments
        ctx.save_for_backward(inputs, weight)
        ctx.shares, ctx.layer = shares, layer
        outputs = inputs.new_empty(len(weight), inputs.shape[1], weight.shape[1])
        return _exact(_OUTPUTS, shares, outputs, inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        shares, given, layer = ctx.shares, gradients[0].contiguous(), ctx.layer
        to_inputs = None
        if ctx.needs_input_grad[0]:  # not those of the first layer, so that no batch is shared
            to_inputs = _exact(_TO_INPUTS, shares, torch.empty_like(inputs), given, weight)
        room = layer.room
        layer.weight.grad = _exact(_TO_WEIGHT, shares, room["weight"], given, inputs)
        layer.bias.grad = _exact(_TO_BIAS, shares, room["bias"], given)
        return to_inputs, None, None, None, None


def _exact(ways: tuple[_Product, ...], shares: Shares, out: Tensor, *operands: Tensor) -> Tensor:
    """Fill ``out`` by the first way that gives each trial the bits of the last way."""
    way = ways[0]
    if out.device.type == "cpu":
        shapes = tuple(one.shape for one in (out, *operands))
        way = _first_that_agrees(ways, shares, shapes, out.dtype, torch.get_num_threads())
    way(shares, out, *operands)
    return out


@functools.lru_cache(maxsize=4096)
def _first_that_agrees(
    ways: tuple[_Product, ...],
    shares: Shares,
    shapes: tuple[torch.Size, ...],
    dtype: torch.dtype,
    _threads: int,  # what the bits depend on
) -> _Product:
    pool = torch.randn(_POOL, generator=Generator().manual_seed(0), dtype=dtype)
    lone, out, *operands = (
        pool.repeat(shape.numel() // _POOL + 1)[: shape.numel()].view(shape)
        for shape in (shapes[0], *shapes)
    )
    ways[-1](shares, lone, *operands)
    for way in ways[:-1]:
        way(shares, out, *operands)
        if torch.equal(out, lone):
            return way
    return ways[-1]


def _spans(shares: Shares) -> list[slice]:
    ends = list(itertools.accumulate(shares))
    return [slice(end - count, end) for count, end in zip(shares, ends, strict=True)]


def _blocks(shares: Shares, batches: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield for each batch ``(trials, B, in)`` of it and the parts of others that belong to it."""
    if len(shares) == len(others[0]):
        yield batches, *others
        return
    for batch, span in zip(batches, _spans(shares), strict=True):
        yield batch.expand(span.stop - span.start, -1, -1), *(one[span] for one in others)


def _trials(shares: Shares, batches: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield for each trial its batch ``(B, in)`` and the parts of others that are its own."""
    each = (one for one, count in zip(batches, shares, strict=True) for _ in range(count))
    yield from zip(each, *others, strict=True)


def _outputs_whole(
    shares: Shares, out: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor
) -> None:
    rows, columns = bias[:, None], weight.transpose(1, 2)
    for batch, its_out, row, its_columns in _blocks(shares, inputs, out, rows, columns):
        torch.baddbmm(row, batch, its_columns, out=its_out)


def _outputs_halved(
    shares: Shares, out: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor
) -> None:
    """Sum the two halves of the inputs apart, as MKL does on two threads."""
    half = inputs.shape[2] // 2
    _outputs_whole(shares, out, inputs[:, :, :half], weight[:, :, :half], bias)
    columns = weight[:, :, half:].transpose(1, 2)
    for batch, its_out, its_columns in _blocks(shares, inputs[:, :, half:], out, columns):
        its_out.add_(torch.bmm(batch, its_columns))


def _outputs_sliced(
    shares: Shares, out: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor
) -> None:
    columns = weight.transpose(1, 2)
    for batch, its_out, row, its_columns in _trials(shares, inputs, out, bias, columns):
        torch.addmm(row, batch, its_columns, out=its_out)


def _to_inputs_whole(_shares: Shares, out: Tensor, given: Tensor, weight: Tensor) -> None:
    torch.bmm(given, weight, out=out)


def _to_inputs_sliced(_shares: Shares, out: Tensor, given: Tensor, weight: Tensor) -> None:
    for its_out, its_given, its_weight in zip(out, given, weight, strict=True):
        torch.mm(its_given, its_weight, out=its_out)


def _to_weight_whole(shares: Shares, out: Tensor, given: Tensor, inputs: Tensor) -> None:
    for batch, its_out, turned in _blocks(shares, inputs, out, given.transpose(1, 2)):
        torch.bmm(turned, batch, out=its_out)


def _to_weight_sliced(shares: Shares, out: Tensor, given: Tensor, inputs: Tensor) -> None:
    for batch, its_out, turned in _trials(shares, inputs, out, given.transpose(1, 2)):
        torch.mm(turned, batch, out=its_out)


def _to_bias_whole(_shares: Shares, out: Tensor, given: Tensor) -> None:
    torch.sum(given, 1, out=out)


def _to_bias_sliced(_shares: Shares, out: Tensor, given: Tensor) -> None:
    for its_out, its_given in zip(out, given, strict=True):
        torch.sum(its_given, 0, out=its_out)


_OUTPUTS = (_outputs_whole, _outputs_halved, _outputs_sliced)
_TO_INPUTS = (_to_inputs_whole, _to_inputs_sliced)
_TO_WEIGHT = (_to_weight_whole, _to_weight_sliced)
_TO_BIAS = (_to_bias_whole, _to_bias_sliced)


def _stacked(tensors: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([one.detach() for one in tensors]))
