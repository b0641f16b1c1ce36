"""Progress: a line an epoch, in ``train.log`` too, and a bar on a terminal or in a notebook."""

import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from typing_extensions import override

from mnist_lab.runs.logs import log_to_file
from mnist_lab.runs.progress import epoch_text

REFRESHES_AN_EPOCH = 20
_BAR = 20  # characters
_FORMAT = "{desc} {percentage:3.0f}% {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_PARTS = ("_step", "_epoch")  # of what a model logs for both
SHOWN = ("train/loss", "train/acc", "val/loss", "val/acc")


class Progress(TQDMProgressBar):
    """Shows where a run is, a few times an epoch: a bar that is drawn at every step costs more.

    It prints a line at the end of each epoch, with its figures, and on a terminal a bar below them.
    In a notebook lines and bar are one output, which is text and needs no widgets.
    """

    def __init__(self) -> None:
        super().__init__()
        self._batches_per_refresh = 1
        self._display = _notebook_display()
        self._output: Any = None  # the notebook's, which can be changed
        self._lines: list[str] = []
        self._on_terminal = sys.stderr.isatty() and self._display is None
        self._unprinted: int | None = None  # number of the epoch whose line is still to come

    @property
    @override
    def refresh_rate(self) -> int:
        return self._batches_per_refresh

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not self._on_terminal:
            self.disable()

    @override
    def on_train_start(self, *arguments: Any) -> None:
        super().on_train_start(*arguments)
        batches = self.trainer.num_training_batches
        self._batches_per_refresh = max(1, int(min(batches, 10_000)) // REFRESHES_AN_EPOCH)
        if self._display:
            self._output = self._display(_as_text(), raw=True, display_id=True)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        done = trainer.fit_loop.batch_idx + 1
        if self._output and done % self._batches_per_refresh == 0:
            share = done / trainer.num_training_batches
            line = f"{_epoch(trainer)}  {'█' * round(share * _BAR):░<{_BAR}} {share:4.0%}"
            self._output.update(_as_text(*self._lines, line), raw=True)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._print_last_epoch(trainer)
        bar, total = self.train_progress_bar, self.total_train_batches
        bar.set_description_str(_epoch(trainer), refresh=False)  # Lightning counts from 0
        bar.reset(None if math.isinf(total) else total)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._unprinted = trainer.current_epoch + 1

    @override
    def on_train_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        super().on_train_end(trainer, *arguments)
        self._print_last_epoch(trainer)

    def _print_last_epoch(self, trainer: L.Trainer) -> None:
        """Print an epoch's line, after the model has logged the epoch's own metrics."""
        if self._unprinted is None or not trainer.is_global_zero:
            return
        values = [f"{name} {value}" for name, value in _shown(trainer).items()]
        line = _line([_epoch(trainer, self._unprinted), *values])
        self._unprinted = None
        log_to_file(line)
        if self._on_terminal:
            Tqdm.write(line, file=sys.stdout)
            return
        if self._output is None:
            print(line, flush=True)
            return
        self._lines.append(line)
        self._output.update(_as_text(*self._lines), raw=True)

    @override
    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.bar_format, bar.leave = _FORMAT, False
        return bar

    @override
    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # too short for a bar of its own

    init_test_tqdm = init_validation_tqdm

    @override
    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return {}  # in the epoch's line


def _shown(trainer: L.Trainer) -> dict[str, str]:
    """Return loss and accuracy, then what metrics= adds to the validation's.

    Of a model that gives its metrics names of its own they are those of training and validation, or
    those that it logs for the progress bar.
    """
    metrics = trainer.callback_metrics
    start = "val/" if any(name in metrics for name in SHOWN) else ("train", "val")
    others = [
        name
        for name in metrics
        if name.startswith(start) and "class_" not in name and not name.endswith(_PARTS)
    ]
    names = [name for name in dict.fromkeys((*SHOWN, *others)) if name in metrics]
    values = {name: metrics[name] for name in names} or trainer.progress_bar_metrics
    return {name: f"{value:.4f}" for name, value in values.items()}


def _line(parts: Sequence[str]) -> str:
    """Return parts as one line, closer together where the terminal is too narrow."""
    line = "  ".join(parts)
    return line if len(line) < shutil.get_terminal_size().columns else " ".join(parts)


def _epoch(trainer: L.Trainer, number: int | None = None) -> str:
    return f"epoch {epoch_text(number or trainer.current_epoch + 1, trainer.max_epochs)}"


def _as_text(*lines: str) -> dict[str, str]:
    return {"text/plain": "\n".join(lines)}


def _notebook_display() -> Any:
    """Return what shows an object in the notebook whose kernel this process is, or None."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return ipython.display.display if hasattr(shell, "kernel") else None
