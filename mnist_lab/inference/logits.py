"""Logits of a model for uint8 images of MNIST's size: the lab's models, and any LightningModule."""

from typing import Any

from torch import Tensor

from mnist_lab.errors import InputError, first_line
from mnist_lab.models import Classifier
from mnist_lab.models.classifier import PIXEL_SCALE
from mnist_lab.models.layers import fitted


def logits_of(model: Any, images: Tensor) -> Tensor:
    """Return logits ``(B, num_classes)`` for ``(B, 1, H, W)`` uint8 images, at the model's size.

    A LightningModule that is no ``Classifier`` says its size as ``in_shape``; it gets the bytes, or
    where it does not take them floats from 0 to 1.

    Raises:
        InputError: its ``forward`` takes no images, or gives no logits.
    """
    images = fitted(images, getattr(model, "in_shape", (1, 28, 28)))
    if isinstance(model, Classifier):
        logits: Tensor = model(images)
        return logits
    try:
        outputs = model(images)
    except RuntimeError:
        outputs = _of_floats(model, images)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"{type(model).__name__}.forward: gives {found} for images {tuple(images.shape)}; "
            "logits (B, C) are required"
        )
    return outputs


def _of_floats(model: Any, images: Tensor) -> Any:
    try:
        return model(images.float() * PIXEL_SCALE)
    except Exception as error:
        raise InputError(
            f"{type(model).__name__}.forward: does not take images {tuple(images.shape)}, as uint8 "
            f"or as floats from 0 to 1: {first_line(error)}"
        ) from error
