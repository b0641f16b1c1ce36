"""Plot of a learning-rate range test."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from mnist_lab.files.images import png
from mnist_lab.inference.drawing import default_style, pixels

_INK, _BLUE, _ORANGE = "#1f2328", "#1f6feb", "#d4760a"


@default_style()
def plot_range(
    rates: Sequence[float],
    losses: Sequence[Sequence[float]],
    means: Sequence[float],
    suggestion: float | None,
    title: str,
) -> bytes:
    """Return a PNG of each seed's loss at each rate, their means, and a line at the suggestion."""
    figure = Figure(figsize=(7.2, 4.2), dpi=100, facecolor="white", layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="training loss")
    for row in losses:
        axes.plot(rates, row, color=_BLUE, alpha=0.3, linewidth=1)
    axes.plot(rates, means, color=_BLUE, linewidth=2)
    shown = [mean for mean in means if math.isfinite(mean)]
    if shown:
        top = 1.3 * max(means[0], shown[0]) if math.isfinite(means[0]) else 1.3 * shown[0]
        axes.set_ylim(0, top)
    if suggestion is not None:
        axes.axvline(suggestion, color=_ORANGE, linewidth=1.5)
        axes.annotate(f" {suggestion:.2g}", (suggestion, 0.02), xycoords=("data", "axes fraction"))
    axes.set_title(title, fontsize=11, color=_INK)
    axes.grid(visible=True, alpha=0.3)
    return png(pixels(figure))
