"""Table of a model's layers: output shapes, parameters and FLOPs."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics import Metric
from typing_extensions import override

from mnist_lab.errors import printable
from mnist_lab.runs.logs import log_to_file

_MOST_ROWS = 40  # of a deeper model, blocks are shown instead of their layers
_HEADINGS = ("layer", "type", "output", "params", "FLOPs")
_WHOLE = (SingleDeviceStrategy, DDPStrategy)  # of others a rank may hold a part of the weights


@dataclass
class Row:
    """A layer, or a block of them.

    Args:
        name: the module's dotted name.
        kind: its class's name.
        shape: of its output for one image, without the batch; None where it was not called.
        params: number of its parameters.
        flops: of a forward pass for one image; None where it was not called.
    """

    name: str
    kind: str
    params: int
    shape: tuple[int, ...] | None = None
    flops: int | None = None


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
    modules = layers(model)
    rows = [
        Row(name, type(module).__name__, sum(p.numel() for p in module.parameters()))
        for name, module in modules.items()
    ]
    flops = None if batch is None else _measure(model, batch, list(modules.values()), rows)
    params = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = [f"{params:,} parameters"]
    if trained != params:
        parts.append(f"{trained:,} of them trained")
    if flops is not None:
        parts.append(f"{_short(flops)}FLOPs an image")
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
    model: L.LightningModule, batch: Any, modules: Sequence[nn.Module], rows: Sequence[Row]
) -> int | None:
    """Give rows what a forward pass shows, and return its FLOPs; None where it fails.

    Weights, statistics and random generators are as before.
    """
    counter = FlopCounterMode(display=False)
    modes = {module: module.training for module in model.modules()}
    begun: list[int] = []

    def before(*_: Any) -> None:
        begun.append(counter.get_total_flops())

    def after(row: Row, _: nn.Module, _inputs: Any, output: Any) -> None:
        row.flops = (row.flops or 0) + counter.get_total_flops() - begun.pop()
        if isinstance(output, Tensor):
            row.shape = tuple(output.shape[1:])

    with contextlib.ExitStack() as hooks:
        for module, row in zip(modules, rows, strict=True):
            hooks.callback(module.register_forward_pre_hook(before).remove)
            hooks.callback(module.register_forward_hook(partial(after, row)).remove)
        device = [model.device] if model.device.type == "cuda" else []
        try:
            model.eval()
            with torch.random.fork_rng(device), torch.no_grad(), counter:
                model(batch)
        except Exception:  # whatever a model of the user's own raises; training it says more
            return None
        finally:
            for module, mode in modes.items():
                module.training = mode
    return int(counter.get_total_flops())


def _table(rows: Sequence[Row], is_measured: bool) -> Iterator[str]:
    shown = len(_HEADINGS) if is_measured else 4
    cells = [
        (
            printable(row.name),
            row.kind,
            " x ".join(map(str, row.shape or ())),
            f"{row.params:,}" if row.params else "",
            _short(row.flops) if row.flops else "",
        )
        for row in rows
    ]
    columns = [n for n in range(shown) if is_measured or n != 2]
    widths = [max(len(line[n]) for line in (_HEADINGS, *cells)) for n in columns]
    for line in (_HEADINGS, *cells):
        texts = [
            line[n].rjust(width) if n > 2 else line[n].ljust(width)
            for n, width in zip(columns, widths, strict=True)
        ]
        yield "  ".join(texts).rstrip()


def _short(number: int) -> str:
    """Return a number with a prefix, such as 5.1 M."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {prefix}"
    return str(number)
