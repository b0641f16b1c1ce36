from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_code import Lit
from torch import Tensor

from mnist_lab.errors import InputError
from mnist_lab.inference.logits import logits_of
from mnist_lab.models import SoftmaxRegression

IMAGES = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)


def test_of_the_labs_models_at_any_size() -> None:
    assert logits_of(SoftmaxRegression(in_shape=(3, 9, 11)), IMAGES).shape == (3, 10)


def _floats(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        raise RuntimeError("not implemented for 'Byte'")
    return images.flatten(1)[:, :4]


@pytest.mark.parametrize("forward", [lambda images: images.flatten(1)[:, :4].float(), _floats])
def test_of_a_lightning_module(forward: Callable[[Tensor], Any]) -> None:
    model = Lit()
    model.forward = forward  # type: ignore[method-assign]
    assert logits_of(model, IMAGES).shape == (3, 4)


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda images: [images], r"Lit.forward: gives list for images \(3, 1, 28, 28\)"),
        (lambda images: images.sum(), r"gives \(\) for images \(3, 1, 28, 28\); logits"),
        (lambda images: images @ torch.zeros(2), "does not take images"),
    ],
)
def test_refuses_in_one_line(forward: Callable[[Tensor], Any], line: str) -> None:
    model = Lit()
    model.forward = forward  # type: ignore[method-assign]
    with pytest.raises(InputError, match=line):
        logits_of(model, IMAGES)
