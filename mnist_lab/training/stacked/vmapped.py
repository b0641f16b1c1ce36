"""A stack of any networks, which torch.func computes side by side.

It is for networks that have no exact stacked form. A trial has the order of images and the initial
weights that it has alone, and its results up to rounding; dropout is drawn from a stream of the
stack's own.
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from mnist_lab.data.augment_list import seeded_by
from mnist_lab.models import Classifier
from mnist_lab.models.classifier import PIXEL_SCALE
from mnist_lab.training.stacked.layers import Shares
from mnist_lab.training.stacked.one_channel import OneChannelAsProduct

_EVALUATED_AT_ONCE = {"cpu": 2048, "cuda": 65_536}  # images times trials, which bounds the memory
_Named = dict[str, Tensor]


class VmappedNet(nn.Module):
    """The networks of K models as one, with the interface of ``StackedNet``.

    Args:
        models: the models, alike in all but weights, buffers and settings of their training; the
            first one's code is run.
        generators: for each what a lone run draws dropout from; the first one's seeds each step.
    """

    def __init__(self, models: Sequence[Classifier], generators: list[Generator]) -> None:
        super().__init__()
        self._models, self._generators = list(models), generators
        self._sent: tuple[Shares, Tensor] | None = None
        self._learnt, self._kept = map(list, _tensors(models[0]))  # names
        for position, names in ((0, self._learnt), (1, self._kept)):
            of_each = [_tensors(model)[position] for model in models]
            for name in names:
                stacked = torch.stack([own[name].detach() for own in of_each]).contiguous()
                if position == 0:
                    self.register_parameter(_place(name), nn.Parameter(stacked))
                else:
                    self.register_buffer(_place(name), stacked)

    def forward(self, images: Tensor, shares: Shares) -> Tensor:
        """Return logits ``(K, B, num_classes)`` for images ``(S, B, C, H, W)``, uint8 or in [0, 1].

        In training buffers are updated, as batch norm's running statistics.
        """
        if 1 < len(shares) < len(self._models):
            images = images.index_select(0, self._rows(shares, images.device))
        if images.dtype == torch.uint8:
            images = images.to(next(self.parameters()).dtype).mul_(PIXEL_SCALE)
        is_shared, at_once = len(shares) == 1, None
        if not self.training:
            most = _EVALUATED_AT_ONCE.get(images.device.type, _EVALUATED_AT_ONCE["cpu"])
            at_once = max(1, most // images.shape[1])
        if self._models[0].training != self.training:
            self._models[0].train(self.training)
        learnt: _Named = dict(zip(self._learnt, self.parameters(), strict=True))
        kept = dict(zip(self._kept, self.buffers(), strict=True))
        one_for_each = vmap(
            self._one,
            in_dims=(0, 0, None if is_shared else 0),
            randomness="different",
            chunk_size=at_once,
        )
        is_cuda = images.device.type == "cuda"
        with OneChannelAsProduct() if is_cuda else contextlib.nullcontext():
            logits, changed = one_for_each(learnt, kept, images[0] if is_shared else images)
        with torch.no_grad():
            for name, buffer in kept.items():
                if changed[name].data_ptr() != buffer.data_ptr():  # it was not changed in place
                    buffer.copy_(changed[name])
        result: Tensor = logits
        return result

    def _one(self, learnt: _Named, kept: _Named, images: Tensor) -> tuple[Tensor, _Named]:
        """Return a trial's logits and its buffers after them."""
        tensors = {**learnt, **kept}
        logits = functional_call(self._models[0], tensors, (images,))  # puts new buffers there
        return logits, {name: tensors[name] for name in kept}

    def _rows(self, shares: Shares, device: torch.device) -> Tensor:
        """Return for each trial the number of its batch ``(K,)``, sent to the device once."""
        if self._sent is None or self._sent[0] != shares:
            rows = torch.arange(len(shares)).repeat_interleave(torch.tensor(shares))
            self._sent = shares, rows.to(device)
        return self._sent[1]

    def stream(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """Return what a step stands in, so that torch draws from the trials' stream."""
        if not self.training:
            return contextlib.nullcontext()
        return seeded_by(self._generators[0], device)

    def keep(self, positions: list[int], generators: list[Generator]) -> None:
        """Keep the trials at these positions, without the others."""
        chosen = torch.tensor(positions, dtype=torch.long, device=next(self.parameters()).device)
        for parameter in self.parameters():
            parameter.data, parameter.grad = parameter.data[chosen], None
        for name, buffer in list(self.named_buffers()):
            setattr(self, name, buffer[chosen])
        self._models = [self._models[position] for position in positions]
        self._generators = generators

    def follow_rates(self) -> None:
        """Nothing: the rates of dropout are those of the first trial's model, alike in all."""

    @torch.no_grad()
    def write_back(self, position: int, state: _Named) -> None:
        """Copy the tensors of the trial at this position in a ``state_dict`` into its own model."""
        learnt, kept = _tensors(self._models[position])
        for name, own in (learnt | kept).items():
            own.copy_(state[_place(name)][position])


def _tensors(model: Classifier) -> tuple[_Named, _Named]:
    """Return a model's tensors by name: what its optimizer steps, and all others."""
    parameters: _Named = dict(model.named_parameters())
    learnt = {name: each for name, each in parameters.items() if each.requires_grad}
    frozen = {name: each for name, each in parameters.items() if not each.requires_grad}
    return learnt, frozen | dict(model.named_buffers())


def _place(name: str) -> str:
    """Return the name of an attribute, which has no dots, for a tensor's name."""
    return name.replace(".", "|")
