"""What a model answers to images whose labels are known, and what can be read from that."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

NUM_BINS = 15  # of confidence, as the papers on calibration have it


class Reliability(NamedTuple):
    """How far confidence can be believed, in bins of equal width from 0 to 1.

    Args:
        images: how many are in each bin, ``(bins,)``.
        confidence: mean probability of the predicted class in each; NaN where there is no image.
        accuracy: share of correct preds in each; NaN where there is no image.
        ece: expected calibration error: the mean gap of the two over all images.
    """

    images: Tensor
    confidence: Tensor
    accuracy: Tensor
    ece: float


@dataclass(frozen=True)
class Answers:
    """A model's probabilities for images, on the CPU.

    Args:
        images: ``(N, 1, 28, 28)`` uint8.
        labels: ``(N,)`` int64.
        probs: ``(N, C)`` float32; what is no number counts as 0.
    """

    images: Tensor
    labels: Tensor
    probs: Tensor

    @classmethod
    def of_logits(cls, images: Tensor, labels: Tensor, logits: Tensor) -> "Answers":
        """Return the answers that logits ``(N, C)`` give."""
        probs = logits.float().softmax(dim=1).nan_to_num(0.0)
        return cls(images.cpu(), labels.cpu(), probs.cpu())

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
        """Return how often each label got each pred, ``(C, C)``, rows are labels."""
        classes = self.num_classes
        cells = self.labels * classes + self.preds
        return cells.bincount(minlength=classes**2).view(classes, classes)

    def mistakes(self, most: int) -> Tensor:
        """Return the positions of wrong answers, the most confident first, ``most`` at most."""
        wrong = (~self.is_correct).nonzero().flatten()
        order = self.confidences[wrong].argsort(descending=True, stable=True)
        return wrong[order[:most]]

    def precision_and_recall(self) -> tuple[Tensor, Tensor]:
        """Return both of each class, ``(C,)``; NaN where no image has it as pred, or label."""
        confusion = self.confusion().float()
        correct = confusion.diag()
        return correct / confusion.sum(dim=0), correct / confusion.sum(dim=1)

    def reliability(self, num_bins: int = NUM_BINS) -> Reliability:
        """Return how confidence and accuracy go together: Guo et al., 2017."""
        confidences = self.confidences.double()
        bins = (confidences * num_bins).ceil().long().sub(1).clamp(0, num_bins - 1)
        images = bins.bincount(minlength=num_bins)
        confidence = bins.bincount(confidences, minlength=num_bins) / images
        accuracy = bins.bincount(self.is_correct.double(), minlength=num_bins) / images
        gaps = (confidence - accuracy).abs().nan_to_num(0.0)
        ece = float((gaps * images).sum() / images.sum().clamp(min=1))
        return Reliability(images, confidence, accuracy, ece)


def first_of_each_class(labels: Tensor, num_classes: int, each: int) -> list[Tensor]:
    """Return for each class the positions of its first images, ``each`` at most."""
    return [(labels == one).nonzero().flatten()[:each] for one in range(num_classes)]
