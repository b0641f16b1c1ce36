"""Saliency is the gradient of the top logit."""

import numpy as np
import torch
from own_code import Lit

from mnist_lab.inference.web.saliency import saliency
from mnist_lab.models import SoftmaxRegression


def test_a_linear_models_saliency_is_its_weights() -> None:
    model = SoftmaxRegression().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    with torch.no_grad():
        top = int(model(torch.from_numpy(pixels)[None, None]).argmax())
    (layer,) = (layer for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    weights = layer.weight.detach()[top].reshape(28, 28).abs()
    expected = (weights / weights.max() * 255).byte().numpy()
    found = saliency(model, pixels)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert found.max() == 255


def test_without_a_gradient_there_is_none() -> None:
    model, pixels = SoftmaxRegression().eval(), np.ones((28, 28), np.uint8)
    model.forward = lambda images: images.detach()  # type: ignore[method-assign]
    assert saliency(model, pixels) is None
    assert saliency(Lit(), pixels) is None
