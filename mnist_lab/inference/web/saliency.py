"""Saliency: the pixels that a model's prediction depends on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_lab.models import Classifier
from mnist_lab.models.classifier import PIXEL_SCALE
from mnist_lab.models.layers import fitted


def saliency(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the top logit's gradient by each pixel, ``(H, W) uint8``, 255 at its largest.

    Its absolute value is taken, as in Simonyan, Vedaldi and Zisserman, 2013
    (https://arxiv.org/abs/1312.6034). None where there is no gradient, and for a LightningModule
    that is no ``Classifier``, whose scale of pixels is not known.

    Args:
        model: the model, in evaluation mode.
        pixels: ``(H, W) uint8``, or ``(H, W, 3)`` in colour.
    """
    if not isinstance(model, Classifier):
        return None
    channels_last = torch.from_numpy(pixels).view(1, *pixels.shape[:2], -1)
    images = fitted(channels_last.movedim(3, 1), model.in_shape)
    images = images.to(model.device, torch.float32) * PIXEL_SCALE
    images.requires_grad_()
    with torch.enable_grad():
        top = model(images).max()
        if not top.requires_grad:  # a network of one's own that computes outside of torch
            return None
        (gradient,) = torch.autograd.grad(top, images)
    strength = gradient[0].abs().amax(dim=0)
    scaled: NDArray[np.uint8] = (
        (strength / strength.max().clamp(min=1e-12) * 255).byte().cpu().numpy()
    )
    return scaled
