"""Images, PR curves, histograms and projector of a tested model, for TensorBoard."""

import contextlib
import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from typing_extensions import override

from mnist_lab.callbacks.projector import write_projector
from mnist_lab.errors import first_line
from mnist_lab.files.tensorboard import tag_of
from mnist_lab.inference.predictions import Predictions

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_log = logging.getLogger(__name__)
_Batch = tuple[Tensor, Tensor, Tensor]  # images, labels, logits
NUM_PROJECTED = 1_000  # test images in the projector
_MOST_CURVES = 100  # classes that get a PR curve


@dataclass(eq=False, repr=False)
class Pictures(L.Callback):
    """Adds images of the tested model to TensorBoard, once, after the test.

    At the start of a run it adds training images above what augmentation makes of them, if any.

    The test steps only leave their logits on the device; everything else is done after the last.
    A model whose ``test_step`` returns no logits gets none of its predictions.

    Args:
        confusion: the confusion matrix as a heat map with counts.
        mistakes: the most confident mistakes.
        samples: the first test images of each class with what the model says.
        per_class: precision and recall of each class.
        pr_curves: a precision-recall curve of each class.
        reliability: accuracy against confidence, with the expected calibration error.
        filters: the weights of the first layer as images.
        histograms: a histogram of each layer's weights.
        projector: the penultimate layer of 1,000 test images, with the images.
    """

    confusion: bool = True
    mistakes: bool = True
    samples: bool = True
    per_class: bool = True
    pr_curves: bool = True
    reliability: bool = True
    filters: bool = True
    histograms: bool = True
    projector: bool = True

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loader: Any = trainer.train_dataloader
        loggers = _loggers(trainer) if trainer.is_global_zero and trainer.ckpt_path is None else []
        if not loggers or getattr(loader, "augment", None) is None:
            return
        plain = copy.copy(loader)  # which leaves the run's own where it is
        plain.augment = None
        (before, *_), (after, *_) = next(iter(plain)), next(iter(copy.copy(loader)))
        with _left_out():
            grid = _pairs(before.cpu(), after.cpu()).numpy()
            for logger in loggers:
                logger.experiment.add_image("train/augmented", grid, 0, dataformats="CHW")

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batches: list[_Batch] = []  # of this rank
        self._shares: list[tuple[_Batch, ...]] = []  # of all ranks, for each batch

    @override
    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if not _loggers(trainer) or not isinstance(batch, list | tuple) or len(batch) < 2:
            return
        images, labels = batch[:2]
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:  # a rank may have no share
            outputs = torch.empty(0, 0)
        self._batches.append((images, labels, outputs.detach()))

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the shares of all ranks together, which each rank has to take part in."""
        batches, self._batches = self._batches, []
        if trainer.world_size == 1 or not _loggers(trainer):
            self._shares = [(batch,) for batch in batches]
            return
        ranks: list[Any] = [None] * trainer.world_size
        mine = [tuple(tensor.cpu() for tensor in batch) for batch in batches]
        torch.distributed.all_gather_object(ranks, mine)
        if trainer.is_global_zero:
            self._shares = list(zip(*ranks, strict=False))

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shares, self._shares = self._shares, []
        loggers = _loggers(trainer)
        if not loggers or not trainer.is_global_zero:
            return
        with _left_out(), torch.random.fork_rng(devices=[]):
            self._add(trainer, pl_module, loggers, [_merged(batch) for batch in shares])

    def _add(
        self,
        trainer: L.Trainer,
        model: L.LightningModule,
        loggers: list[TensorBoardLogger],
        batches: list[_Batch],
    ) -> None:
        predictions = _predictions(batches, getattr(trainer, "datamodule", None))
        drawn = self._drawn(predictions, model)
        vectors = None
        if predictions is not None and self.projector:
            images = torch.cat([batch[0] for batch in batches])
            vectors = _penultimate(trainer, model, images[:NUM_PROJECTED])
        for logger in loggers:
            writer, step = logger.experiment, trainer.global_step
            for tag, image in drawn.items():
                writer.add_image(tag, image, step, dataformats="HWC")
            if predictions is not None and self.pr_curves:
                _add_pr_curves(writer, predictions, step)
            if self.histograms:
                _add_histograms(writer, model, step)
            if predictions is not None and vectors is not None:
                columns = {"label": predictions.labels, "pred": predictions.preds}
                shown = {name: column[: len(vectors)] for name, column in columns.items()}
                images = predictions.images[: len(vectors)]
                write_projector(Path(logger.log_dir), vectors, shown, images)
            writer.flush()

    def _drawn(self, predictions: Predictions | None, model: nn.Module) -> dict[str, Any]:
        """Return the figures as pixels ``(H, W, 3)`` by their tags."""
        from mnist_lab.callbacks import figures  # imports matplotlib, which takes half a second
        from mnist_lab.inference.drawing import default_style, pixels

        drawn = {}
        with default_style():
            for name, draw in figures.OF_PREDICTIONS.items():
                if predictions is not None and getattr(self, name):
                    drawn[tag_of(f"test/{name}")] = pixels(draw(predictions))
            layers = (part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d))
            first = next(layers, None) if self.filters else None
            if first is not None and (figure := figures.filters(first.weight)) is not None:
                drawn["weights/first_layer"] = pixels(figure)
        return drawn


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    """Leave out what fails for a model or data of one's own: no reason to lose the run."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        _log.warning("pictures: left out: %s", first_line(error))


def _loggers(trainer: L.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _pairs(before: Tensor, after: Tensor) -> Tensor:
    """Return a grid ``(C, H, W)`` uint8 of images ``(N, C, H, W)``, each above what became of it.

    Of other images than grey ones and those of three colours the first channel is drawn.
    """
    columns = min(10, len(before))
    rows = min(3, len(before) // columns)
    channels = 3 if before.shape[1] == 3 else 1
    both = [images[: rows * columns, :channels] for images in (before, after)]
    scaled = [images if images.dtype == torch.uint8 else images.mul(255).byte() for images in both]
    framed = [nn.functional.pad(images, (1, 1, 1, 1), value=96) for images in scaled]
    pairs = torch.cat(framed, 2)  # (N, C, 60, 30)
    height, width = pairs.shape[2:]
    grid = pairs.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    wide = grid.reshape(channels, rows * height, columns * width)
    return wide.repeat_interleave(2, 1).repeat_interleave(2, 2)


def _merged(shares: tuple[_Batch, ...]) -> _Batch:
    """Return one batch of the shares of all ranks, to which its images were dealt one by one."""
    if len(shares) == 1:
        return shares[0]
    size = sum(len(labels) for _, labels, _ in shares)
    merged = []
    for tensors in zip(*shares, strict=True):
        filled = next((tensor for tensor in tensors if tensor.numel()), tensors[0])
        whole = filled.new_zeros(size, *filled.shape[1:])
        for rank, tensor in enumerate(tensors):
            if len(tensor):
                whole[rank :: len(shares)] = tensor
        merged.append(whole)
    images, labels, logits = merged
    return images, labels, logits


def _predictions(batches: list[_Batch], datamodule: Any) -> Predictions | None:
    """Return the predictions of the test steps; None where they returned no logits of images."""
    for images, labels, logits in batches:
        is_logits = logits.ndim == 2 and len(logits) == len(labels) and logits.is_floating_point()
        if not is_logits or logits.shape[1] < 2:
            return None
        if images.shape[1:] != (1, 28, 28):
            shape = tuple(images.shape[1:])
            _log.info("pictures: no images of predictions: drawn of (1, 28, 28), not of %s", shape)
            return None
    if not sum(len(labels) for _, labels, _ in batches):
        return None
    images, labels, logits = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Predictions.of_logits(images, labels, logits, datamodule)


def _add_pr_curves(writer: "SummaryWriter", predictions: Predictions, step: int) -> None:
    for label in range(min(predictions.num_classes, _MOST_CURVES)):
        is_label, probs = predictions.labels == label, predictions.probs[:, label]
        writer.add_pr_curve(f"pr_curve/class_{label}", is_label, probs, step)


def _add_histograms(writer: "SummaryWriter", model: nn.Module, step: int) -> None:
    for name, parameter in model.named_parameters():
        values = parameter.detach().float()
        values = values[values.isfinite()]
        if values.numel():
            writer.add_histogram(f"weights/{name}", values, step)


def _penultimate(trainer: L.Trainer, model: L.LightningModule, images: Tensor) -> Tensor | None:
    """Return the last linear layer's input for images, ``(N, D)``; None where there is none."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        return None
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    was_training = model.training
    try:
        model.eval()
        with torch.inference_mode(), trainer.precision_plugin.test_step_context():
            model(images.to(model.device))
    finally:
        hook.remove()
        model.train(was_training)
    vectors = seen[-1].detach().float().cpu() if seen else torch.empty(0)
    return vectors if vectors.ndim == 2 and len(vectors) == len(images) else None
