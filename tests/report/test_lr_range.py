"""The plot of a learning-rate range test."""

import io
import math

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mnist_lab.report.lr_range import plot_range


@pytest.mark.parametrize("suggestion", [1e-2, None])
def test_losses_without_a_bound_are_left_out(
    suggestion: float | None,
) -> None:
    rates, losses = [1e-3, 1e-2, 1e-1], [[2.3, 0.5, math.nan], [2.3, 0.6, math.inf]]
    with matplotlib.rc_context({"text.usetex": True}):  # as a user's matplotlibrc may have it
        content = plot_range(rates, losses, [2.3, 0.55, math.inf], suggestion, "a title")
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    orange = (abs(pixels - [0xD4, 0x76, 0x0A]).sum(axis=2) < 30).sum()
    assert (orange > 200) == (suggestion is not None)


def test_all_without_a_bound() -> None:
    content = plot_range([1.0, 2.0], [[math.nan, math.inf]], [math.inf] * 2, None, "a title")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (720, 420)
