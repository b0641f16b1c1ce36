"""What TensorBoard shows of a run besides its curves."""

from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from typing_extensions import override


class Pictures(L.Callback):
    """Adds the confusion matrix of the test images at the end of a run."""

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loggers = [one for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
        confusion = getattr(pl_module, "test_confusion_matrix", None)
        if not loggers or confusion is None or not trainer.is_global_zero:
            return
        figure = confusion_figure(confusion)
        for logger in loggers:
            logger.experiment.add_figure("test/confusion", figure, trainer.global_step)


def confusion_figure(confusion: Tensor) -> Any:
    """Draw a confusion matrix as a heat map with counts.

    The colours follow each label's share on a scale of roots, so that single mistakes can be seen
    beside a diagonal of hundreds.

    Args:
        confusion: ``(C, C)`` counts, rows are labels and columns preds.
    """
    from matplotlib.figure import Figure  # 0.3 s that only a picture has to pay

    share = (confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)).sqrt()
    figure = Figure(figsize=(6.4, 6), dpi=100, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    classes = range(len(confusion))
    for label in classes:
        for pred in classes:
            if count := int(confusion[label, pred]):
                dark = bool(share[label, pred] > 0.6)
                color = "white" if dark else "black"
                axes.text(
                    pred, label, f"{count}", ha="center", va="center", color=color, fontsize=8
                )
    accuracy = float(confusion.diag().sum() / confusion.sum().clamp(min=1))
    axes.set(xticks=list(classes), yticks=list(classes), xlabel="predicted", ylabel="label")
    axes.set_title(f"Confusion on {int(confusion.sum()):,} test images, {accuracy:.2%} correct")
    return figure
