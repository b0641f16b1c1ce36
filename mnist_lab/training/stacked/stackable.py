"""Which models are trained as a stack, and how many in one."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import lightning as L
import torch
from torch import Generator, Tensor, nn
from torch.autograd.graph import allow_mutation_on_saved_tensors, saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from mnist_lab.errors import first_line
from mnist_lab.models import Classifier
from mnist_lab.training.stacked.fit import (
    MOST,
    PRECISIONS,
    max_stack,
    reason_trainer_is_not_stacked,
)
from mnist_lab.training.stacked.network import (
    EXACT,
    reason_optimizer_is_not_stacked,
    reason_weights_are_not_stacked,
)
from mnist_lab.training.stacked.one_channel import OneChannelAsProduct
from mnist_lab.training.stacked.vmapped import VmappedNet

_CPU_FLOPS, _CPU_CONVOLUTIONS = 1_000_000, 100_000
"""FLOPs an image, and those of convolutions, above which a stack by torch.func is slower on a CPU.

Measured on two cores, a step of 8 networks against one alone: a CNN of 0.06 MFLOPs with batch norm
0.65 times as long a model, without 1.1 times; one of 0.2 MFLOPs 1.7 times, of 4.5 MFLOPs 3 times.
"""
_CPU_MEMORY = 2**29  # bytes of a stack by torch.func
_BATCH = 4  # images of a trial of two networks
_SCALES = (1e-4, 1e4)  # of gradients: what adds to them shows in small ones, what clips in large


def stacking(
    model: Classifier, trainer: L.Trainer, batch_size: int, stack: str = "auto"
) -> tuple[str | None, int]:
    """Return in one line why models are not stacked, None if they are, and the size of a stack.

    Args:
        model: one of the models, which is left as it is.
        trainer: a trainer of one of them.
        batch_size: samples in a step.
        stack: ``auto``, ``always`` also where torch.func does not pay, or ``exact`` only what has
            the bits of lone runs.
    """
    reason = None
    if isinstance(model, Classifier):
        reason = reason_optimizer_is_not_stacked(model) or reason_weights_are_not_stacked(model)
    device = trainer.strategy.root_device
    if type(model) in EXACT:
        reason = reason or reason_trainer_is_not_stacked(trainer)
        return reason, 1 if reason else max_stack(model, device)
    reason = (
        _reason_in_class(model, stack)
        or reason
        or reason_trainer_is_not_stacked(trainer, PRECISIONS)
        or (None if stack == "always" else _reason_of_cost(model, device))
    )
    if reason is not None:
        return reason, 1
    try:
        with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
            saved = _try(model, device)
    except Exception as error:  # whatever torch.func or a network of the user's own raises
        return f"torch.func cannot stack {type(model).__name__}: {first_line(error)}", 1
    return None, _most(model, saved * batch_size, device)


def _reason_in_class(model: L.LightningModule, stack: str) -> str | None:
    """Return in one line why a class of models is not stacked, such as for a step of its own."""
    name = type(model).__name__
    if stack == "exact":
        return f"{name} is not stacked exactly, only MLP and SoftmaxRegression are"
    if not isinstance(model, Classifier):
        return f"{name} is not stacked, as it is no Classifier"
    for kind in type(model).__mro__[: type(model).__mro__.index(Classifier)]:
        for own, value in vars(kind).items():
            is_known = own == "forward" or own.startswith("__")
            if callable(value) and hasattr(Classifier, own) and not is_known:
                return f"{name} is not stacked, as its {own} is its own"
    return None


def _reason_of_cost(model: Classifier, device: torch.device) -> str | None:
    """Return in one line why a stack would take longer than its trials one by one."""
    if device.type != "cpu":
        return None
    try:
        total, convolutions = _flops(model)
    except Exception as error:
        return f"{type(model).__name__} is not stacked: {first_line(error)}"
    if total < _CPU_FLOPS and convolutions < _CPU_CONVOLUTIONS:
        return None
    return (
        f"{type(model).__name__} is not stacked on a CPU, as one by one is faster with "
        f"{total / 1e6:.1f} MFLOPs an image, {convolutions / 1e6:.1f} of them in convolutions"
    )


def _flops(model: Classifier) -> tuple[int, int]:
    """Return the FLOPs of a forward pass of one image, and those of its convolutions."""
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng([]), torch.no_grad(), counter:
        copy.deepcopy(model).eval()(torch.zeros(1, *model.in_shape, dtype=torch.uint8))
    counts = counter.get_flop_counts()["Global"]
    convolutions = [count for name, count in counts.items() if "conv" in str(name)]
    return counter.get_total_flops(), sum(convolutions)


def _try(model: Classifier, device: torch.device) -> int:
    """Train two copies of a model as a stack for two steps, and compare what comes of it.

    Returns:
        Bytes that a trial keeps of an image for the backward pass.

    Raises:
        Exception: the stack cannot be trained.
        ValueError: its logits or gradients differ from those of its models alone.
    """
    models = [copy.deepcopy(model), copy.deepcopy(model)]
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.mul_(0.9)
    net = VmappedNet(models, [Generator(), Generator()]).train()
    images = torch.randint(256, (2, _BATCH, *model.in_shape), dtype=torch.uint8)
    with OneChannelAsProduct() if device.type == "cuda" else nullcontext():
        saved = _train(net, images, (1, 1))
    _train(net, images[:1], (2,))
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            raise ValueError(f"{name.replace('|', '.')} gets no gradient")
    for scale in _SCALES:
        _compare(net, models, images[0], scale)
    return saved


def _compare(net: VmappedNet, models: Sequence[Classifier], images: Tensor, scale: float) -> None:
    """Compare a stack's logits, and gradients of a scale, with those of its models alone.

    Both are in evaluation, where nothing is drawn.
    """
    net.eval().zero_grad()
    with allow_mutation_on_saved_tensors():  # buffers are copied back to their place
        stacked = net(images[None], (len(models),))
        torch.autograd.backward(_loss(stacked, scale))
    for position, (own, logits) in enumerate(zip(models, stacked.detach(), strict=True)):
        net.write_back(position, net.state_dict())
        own.eval().zero_grad()
        outputs = own(images)
        torch.autograd.backward(_loss(outputs, scale))
        alone = outputs.detach()
        if not torch.allclose(logits, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max())):
            raise ValueError("its logits in a stack differ from those alone")
        lone = {name: _gradient(each) for name, each in own.named_parameters()}
        most = max(float(gradient.norm()) for gradient in lone.values())
        for name, parameter in net.named_parameters():
            gradient = lone[name.replace("|", ".")]
            difference = float((_gradient(parameter)[position] - gradient).norm())
            # Norms, as an activation that rounding moves across ReLU's kink changes single numbers.
            if not difference <= 0.05 * float(gradient.norm()) + 1e-3 * most:
                raise ValueError("its gradients in a stack differ from those alone")


def _loss(logits: Tensor, scale: float) -> Tensor:
    """Return a loss that is separate for each trial, with gradients also where logits are 0."""
    return (logits + 1).square().sum() * scale


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _train(net: VmappedNet, images: Tensor, shares: Sequence[int]) -> int:
    """Compute the gradients of a step; return the bytes kept for them of an image and trial."""
    weights, kept = {parameter.data_ptr() for parameter in net.parameters()}, [0]

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[0] += tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        logits = net(images, tuple(shares))
    logits.square().sum().backward()
    return kept[0] // (len(logits) * _BATCH)


def _most(model: Classifier, activations: int, device: torch.device) -> int:
    """Return how many trials a stack by torch.func has at most; on a GPU by half its free memory.

    A trial has weights, gradients and two moments, and keeps so many bytes of activations for the
    backward pass, which takes as many again; a recorded step keeps them beside those of others.
    """
    of_model = sum(each.numel() * each.element_size() for each in model.parameters())
    memory, most, is_gpu = _CPU_MEMORY, MOST, device.type == "cuda"
    if is_gpu:
        memory = torch.cuda.mem_get_info(device)[0] // 2
    else:
        most = max_stack(model, device)
    return max(1, min(most, memory // (4 * of_model + (2 + is_gpu) * activations)))
