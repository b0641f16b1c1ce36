"""Saliency is the gradient of the top logit."""

import numpy as np
import torch

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
