"""What is read from a model's predictions, against torchmetrics and by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_code import Lit
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

from mnist_lab.errors import InputError
from mnist_lab.inference.predictions import Predictions, logits_of_batch
from mnist_lab.models import SoftmaxRegression
from mnist_lab.models.layers import fitted

BYTES = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
IMAGES = torch.zeros(500, 1, 28, 28, dtype=torch.uint8)


@pytest.fixture
def predictions() -> Predictions:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (500,), generator=generator)
    logits = torch.randn(500, 10, generator=generator)
    logits[torch.arange(500), labels] += 2
    return Predictions.of_logits(IMAGES, labels, logits)


def test_agrees_with_torchmetrics(predictions: Predictions) -> None:
    probs, preds, labels = predictions.probs, predictions.preds, predictions.labels
    matrix = multiclass_confusion_matrix(preds, labels, 10)
    assert torch.equal(predictions.confusion(), matrix)
    precision, recall = predictions.precision_and_recall()
    torch.testing.assert_close(precision, multiclass_precision(preds, labels, 10, average="none"))
    torch.testing.assert_close(recall, multiclass_recall(preds, labels, 10, average="none"))
    expected = multiclass_calibration_error(probs, labels, 10, n_bins=15)
    assert predictions.reliability().ece == pytest.approx(float(expected), abs=1e-6)
    assert predictions.accuracy == pytest.approx(float((preds == labels).float().mean()))


def test_mistakes_are_the_wrong_ones_the_surest_first(predictions: Predictions) -> None:
    positions = predictions.mistakes(20)
    assert not predictions.is_correct[positions].any()
    confidences = predictions.confidences[positions]
    assert torch.equal(confidences, confidences.sort(descending=True).values)
    assert len(predictions.mistakes(10_000)) == int((~predictions.is_correct).sum())


def test_logits_of_a_model_that_diverged_count_as_no_confidence() -> None:
    labels = torch.zeros(500, dtype=torch.int64)
    predictions = Predictions.of_logits(IMAGES, labels, torch.full((500, 10), torch.nan))
    assert predictions.confidences.max() == 0
    assert predictions.reliability().ece == pytest.approx(1.0)  # all are label 0, and so is argmax


def test_logits_of_the_labs_models_at_any_size() -> None:
    images = fitted(BYTES, (3, 9, 11))
    assert logits_of_batch(SoftmaxRegression(in_shape=(3, 9, 11)), images).shape == (3, 10)


def _floats(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        raise RuntimeError("not implemented for 'Byte'")
    return images.flatten(1)[:, :4]


@pytest.mark.parametrize("forward", [lambda images: images.flatten(1)[:, :4].float(), _floats])
def test_logits_of_a_lightning_module(forward: Callable[[Tensor], Any]) -> None:
    model = Lit()
    model.forward = forward  # type: ignore[method-assign]
    assert logits_of_batch(model, BYTES).shape == (3, 4)


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda images: [images], r"Lit.forward: gives list for images \(3, 1, 28, 28\)"),
        (lambda images: images.sum(), r"gives \(\) for images \(3, 1, 28, 28\); logits"),
        (lambda images: images @ torch.zeros(2), "does not take images"),
    ],
)
def test_what_gives_no_logits_is_refused_in_one_line(
    forward: Callable[[Tensor], Any], line: str
) -> None:
    model = Lit()
    model.forward = forward  # type: ignore[method-assign]
    with pytest.raises(InputError, match=line):
        logits_of_batch(model, BYTES)
