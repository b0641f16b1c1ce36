"""A model's logits for images, predictions on labelled ones, and the statistics of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnist_lab.data.sets import EVAL_BATCH_SIZE, class_names_of
from mnist_lab.errors import InputError, first_line
from mnist_lab.models import Classifier
from mnist_lab.models.classifier import PIXEL_SCALE

NUM_BINS = 15  # of confidence, as the papers on calibration have it


def logits_of_batch(model: Any, images: Tensor) -> Tensor:
    """Return logits ``(B, num_classes)`` for images ``(B, C, H, W)`` as the model was trained on.

    A LightningModule that is no ``Classifier`` gets bytes as floats from 0 to 1 where it does not
    take them.

    Raises:
        InputError: its ``forward`` does not take the images, or gives no logits.
    """
    if isinstance(model, Classifier):
        logits: Tensor = model(images)
        return logits
    try:
        outputs = model(images)
    except Exception as error:
        if images.dtype == torch.uint8:
            return logits_of_batch(model, images.float() * PIXEL_SCALE)
        raise InputError(
            f"{type(model).__name__}.forward: does not take images {tuple(images.shape)}: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"{type(model).__name__}.forward: gives {found} for images {tuple(images.shape)}; "
            "logits (B, C) are required"
        )
    return outputs


@torch.inference_mode()
def logits_in_batches(model: Any, images: Tensor) -> Tensor:
    """Return the logits ``(N, C)`` of any model for images as it was trained on, on the CPU."""
    model.eval()
    images = images.float() if images.is_floating_point() else images
    batches = torch.split(images, EVAL_BATCH_SIZE)
    return torch.cat([logits_of_batch(model, batch.to(model.device)).cpu() for batch in batches])


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of confidence of equal width from 0 to 1.

    Args:
        images: number of images in each bin, ``(bins,)``.
        confidence: mean probability of the predicted class in each; NaN where there is no image.
        accuracy: share of correct preds in each; NaN where there is no image.
        ece: expected calibration error: the mean gap of the two over all images.
    """

    images: Tensor
    confidence: Tensor
    accuracy: Tensor
    ece: float


@dataclass(frozen=True)
class Predictions:
    """A model's probabilities for images, on the CPU.

    Args:
        images: ``(N, C, H, W)`` uint8.
        labels: ``(N,)`` int64.
        probs: ``(N, C)`` float32; 0 in place of NaN.
        class_names: of the classes; none where they are the labels' numbers.
    """

    images: Tensor
    labels: Tensor
    probs: Tensor
    class_names: tuple[str, ...] = ()

    @classmethod
    def of_logits(
        cls, images: Tensor, labels: Tensor, logits: Tensor, datamodule: Any = None
    ) -> "Predictions":
        """Return the predictions that logits ``(N, C)`` give, with the names of the data.

        Images that a data module of one's own has scaled to floats become bytes again.
        """
        if images.dtype != torch.uint8:
            images = images.float()
            low, high = images.amin(), images.amax()
            images = ((images - low) / (high - low).clamp(min=1e-9) * 255).byte()
        probs = logits.float().softmax(dim=1).nan_to_num(0.0)
        return cls(images.cpu(), labels.cpu(), probs.cpu(), class_names_of(datamodule))

    def name(self, label: int) -> str:
        """Return what a class is called."""
        return name_of(label, self.class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.probs.shape[1]

    @property
    def preds(self) -> Tensor:
        """The most probable class of each image, ``(N,)``."""
        return self.probs.argmax(dim=1)

    @property
    def confidences(self) -> Tensor:
        """The probability of that class, ``(N,)``."""
        return self.probs.amax(dim=1)

    @property
    def is_correct(self) -> Tensor:
        """Whether it is the label, ``(N,)`` bool."""
        return self.preds == self.labels

    @property
    def accuracy(self) -> float:
        """Share of correct preds."""
        return float(self.is_correct.float().mean())

    def confusion(self) -> Tensor:
        """Return the number of images of each label and pred, ``(C, C)``; rows are labels."""
        classes = self.num_classes
        cells = self.labels * classes + self.preds
        return cells.bincount(minlength=classes**2).view(classes, classes)

    def mistakes(self, most: int) -> Tensor:
        """Return the positions of wrong preds, the most confident first, ``most`` at most."""
        wrong = (~self.is_correct).nonzero().flatten()
        order = self.confidences[wrong].argsort(descending=True, stable=True)
        return wrong[order[:most]]

    def precision_and_recall(self) -> tuple[Tensor, Tensor]:
        """Return both for each class, ``(C,)``; NaN where no image has it as pred, or label."""
        confusion = self.confusion().float()
        correct = confusion.diag()
        return correct / confusion.sum(dim=0), correct / confusion.sum(dim=1)

    def reliability(self) -> Reliability:
        """Return confidence against accuracy (Guo et al., 2017, https://arxiv.org/abs/1706.04599)."""
        confidences = self.confidences.double()
        bins = (confidences * NUM_BINS).ceil().long().sub(1).clamp(0, NUM_BINS - 1)
        images = bins.bincount(minlength=NUM_BINS)
        confidence = bins.bincount(confidences, minlength=NUM_BINS) / images
        accuracy = bins.bincount(self.is_correct.double(), minlength=NUM_BINS) / images
        gaps = (confidence - accuracy).abs().nan_to_num(0.0)
        ece = float((gaps * images).sum() / images.sum().clamp(min=1))
        return Reliability(images, confidence, accuracy, ece)


def name_of(label: int, class_names: Sequence[str]) -> str:
    """Return what a class is called: its name, or the label's number where it has none."""
    return class_names[label] if label < len(class_names) else str(label)
