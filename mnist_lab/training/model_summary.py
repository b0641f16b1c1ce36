"""Table of a model's layers: output shapes, parameters and FLOPs."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics import Metric
from typing_extensions import override

from mnist_lab.errors import printable
from mnist_lab.runs.logs import log_to_file

_MOST_ROWS = 40  # of a deeper model, blocks are shown instead of their layers
_HEADINGS = ("layer", "type", "output", "params", "FLOPs")
_WHOLE = (SingleDeviceStrategy, DDPStrategy)  # of others a rank may hold a part of the weights


class Summary(ModelSummary):
    """Prints a model's layers before it is trained, to the terminal and to ``train.log``."""

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        is_whole = isinstance(trainer.strategy, _WHOLE)
        lines = summary_lines(pl_module, example_batch(pl_module) if is_whole else None)
        print(*lines, sep="\n", flush=True)
        log_to_file(*lines)


def example_batch(model: L.LightningModule) -> Any:
    """Return a batch of one image that a model takes; None where nothing says what it takes."""
    if model.example_input_array is not None:
        return model.example_input_array
    if (shape := getattr(model, "in_shape", None)) is None:
        return None
    return torch.zeros(1, *shape, dtype=torch.uint8, device=model.device)


def summary_lines(model: L.LightningModule, batch: Any) -> list[str]:
    """Return the table and a line of totals; without a batch of one image, no shapes and FLOPs."""
    shapes: dict[nn.Module, str] = {}
    flops = None if batch is None else _measure(model, batch, shapes)
    rows = [_HEADINGS]
    for name, module in layers(model).items():
        params = sum(parameter.numel() for parameter in module.parameters())
        cost = (flops or {}).get(f"{type(model).__name__}.{name}", 0)
        numbers = f"{params:,}" if params else "", _short(cost) if cost else ""
        rows.append((printable(name), type(module).__name__, shapes.get(module, ""), *numbers))
    params = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = [f"{params:,} parameters"]
    if trained != params:
        parts.append(f"{trained:,} of them trained")
    if flops is not None:
        parts.append(f"{_short(flops['Global'])}FLOPs an image")
    return [*_table(rows, flops is not None), f"{type(model).__name__}: {', '.join(parts)}"]


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that are a row each, by name: layers, or blocks of a deep model."""
    depth, found = 1, list(_down_to(model, 1))
    while len(deeper := list(_down_to(model, depth + 1))) <= _MOST_ROWS and deeper != found:
        depth, found = depth + 1, deeper
    return dict(found)


def _down_to(module: nn.Module, depth: int, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, Metric):
            continue
        has_own = next(child.parameters(recurse=False), None) is not None
        if depth > 1 and not has_own and next(child.children(), None) is not None:
            yield from _down_to(child, depth - 1, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _measure(
    model: L.LightningModule, batch: Any, shapes: dict[nn.Module, str]
) -> dict[str, int] | None:
    """Note the shapes of a forward pass, and return its FLOPs by name; None where it fails.

    Weights, statistics and random generators are as before.
    """

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[module] = " x ".join(map(str, output.shape[1:]))

    modes = {module: module.training for module in model.modules()}
    device = [model.device] if model.device.type == "cuda" else []
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        with (
            register_module_forward_hook(note),
            torch.random.fork_rng(device),
            torch.no_grad(),
            counter,
        ):
            model(batch)
    except Exception:  # whatever a model of the user's own raises; training it says more
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode
    counts = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    return {**counts, "Global": counter.get_total_flops()}


def _table(rows: Sequence[Sequence[str]], is_measured: bool) -> Iterator[str]:
    columns = []
    for heading, *texts in zip(*rows, strict=True):
        if is_measured or heading not in ("output", "FLOPs"):
            width = max(map(len, (heading, *texts)))
            align = str.rjust if heading in ("params", "FLOPs") else str.ljust
            columns.append([align(text, width) for text in (heading, *texts)])
    for row in zip(*columns, strict=True):
        yield "  ".join(row).rstrip()


def _short(number: int) -> str:
    """Return a number with a prefix, such as 5.1 M."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {prefix}"
    return str(number)
