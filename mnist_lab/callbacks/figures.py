"""Figures of a model's predictions and of its weights, drawn with matplotlib.

Each is on white, as paper is, so that it reads the same in a light and in a dark TensorBoard.
"""

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray
from torch import Tensor

from mnist_lab.inference.predictions import Predictions

_INK, _MUTED, _BLUE, _ORANGE, _RED = "#1f2328", "#59636e", "#1f6feb", "#d4760a", "#b42318"
_MANY_CLASSES = 20  # above which a figure has no room for each
_MOST_FILTERS = 64
_MOST_NAMES, _LONGEST_NAME = 64, 11  # on an axis; characters of each
_SIDE, _GAP = 28, 4  # pixels of an image, and between two of them
_LEAST_WIDTH = 5  # inches of a figure, for its title
_LINE = 15  # pixels of the screen that a line of text takes


def confusion(predictions: Predictions) -> Figure:
    """Draw the confusion matrix as a heat map with counts; rows are labels and columns preds.

    The colours follow each label's share on a scale of roots, so that single mistakes can be seen
    beside a diagonal of hundreds.
    """
    counts = predictions.confusion()
    title = (
        f"Confusion on {len(predictions.labels):,} test images, {predictions.accuracy:.2%} correct"
    )
    left, bottom = (0.2, 0.18) if predictions.class_names else (0.1, 0.09)
    figure, axes = _figure(6.4, 6.2, title, left=left, right=0.98, bottom=bottom)
    share = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).sqrt()
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    classes = range(len(counts))
    for label in classes if len(counts) <= _MANY_CLASSES else ():
        for pred in classes:
            if count := int(counts[label, pred]):
                color = "white" if share[label, pred] > 0.6 else "black"
                axes.text(
                    pred, label, f"{count}", ha="center", va="center", color=color, fontsize=9
                )
    if predictions.class_names and len(counts) <= _MOST_NAMES:
        names = _names(predictions)
        size = 9 if len(counts) <= _MANY_CLASSES else 5
        axes.set_xticks(classes, names, rotation=90, fontsize=size)
        axes.set_yticks(classes, names, fontsize=size)
    elif len(counts) <= _MANY_CLASSES:
        axes.set(xticks=list(classes), yticks=list(classes))
    axes.set(xlabel="predicted", ylabel="label")
    return figure


def mistakes(predictions: Predictions) -> Figure:
    """Draw the wrong predictions that the model was surest of, with label, pred and probability."""
    columns, rows = 6, 4
    worst = predictions.mistakes(columns * rows)
    wrong = int((~predictions.is_correct).sum())
    title = f"The {len(worst)} most confident of {wrong:,} mistakes on the test images"
    if wrong == 1:
        title = "The only mistake on the test images"
    if not len(worst):
        title = f"No mistake on {len(predictions.labels):,} test images"
    names = _names(predictions)
    captions = [
        (*_mistake(predictions, names[label], names[pred], confidence), _RED)
        for label, pred, confidence in zip(
            predictions.labels[worst].tolist(),
            predictions.preds[worst].tolist(),
            predictions.confidences[worst].tolist(),
            strict=True,
        )
    ]
    width = 8.4 if predictions.class_names else 7.2
    return _mosaic(title, predictions.images[worst], captions, columns, rows, width)


def samples(predictions: Predictions) -> Figure:
    """Draw the first test images of each class with what the model says, a column for each."""
    classes, each = min(predictions.num_classes, _MANY_CLASSES), 5
    labels = predictions.labels
    first = [(labels == label).nonzero().flatten()[:each] for label in range(classes)]
    blank = torch.full((1, *predictions.images.shape[1:]), 255, dtype=torch.uint8)
    names = _names(predictions)
    images, captions = [], []
    for row in range(each):
        for positions in first:
            if row >= len(positions):
                images.append(blank)
                captions.append(("", "", _INK))
                continue
            at = int(positions[row])
            pred, is_right = int(predictions.preds[at]), bool(predictions.is_correct[at])
            images.append(predictions.images[at : at + 1])
            text = names[pred]
            if not is_right and not predictions.class_names:
                text += f", not {int(predictions.labels[at])}"
            color = _INK if is_right else _RED
            captions.append((text, f"{float(predictions.confidences[at]):.1%}", color))
    which = "class"
    if classes < predictions.num_classes:
        which = f"of the first {classes} of {predictions.num_classes} classes"
    title = f"What the model says to the first test images of each {which}: pred and probability"
    width = (0.98 if predictions.class_names else 0.78) * classes + 0.4
    return _mosaic(title, torch.cat(images), captions, classes, each, width)


def _mistake(predictions: Predictions, label: str, pred: str, confidence: float) -> tuple[str, str]:
    """Return the two lines below a mistake; names take more room than numbers."""
    if predictions.class_names:
        return label, f"for {pred}, {confidence:.0%}"
    return f"{label} taken for {pred}", f"{confidence:.1%}"


def _names(predictions: Predictions) -> list[str]:
    """Return what the classes are called in a figure, each another text."""
    names = [predictions.name(label) for label in range(predictions.num_classes)]
    short = [_short(name, label) for label, name in enumerate(names)]
    if len({*short}) < len(short):  # as when long ones begin alike
        short = [_short(f"{label} {name}", label) for label, name in enumerate(names)]
    return short


def _short(name: str, label: int) -> str:
    """Return a name cut short, no formula, of glyphs that there are; else the label's number."""
    is_drawn = (
        name.isascii()
        or {*map(ord, name)} <= get_font(findfont("DejaVu Sans")).get_charmap().keys()
    )
    if not is_drawn:
        return str(label)
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return name.replace("$", r"\$")


def per_class(predictions: Predictions) -> Figure:
    """Draw precision and recall of each class, on an axis that begins just below the least."""
    precision, recall = (values.numpy() for values in predictions.precision_and_recall())
    title = "Precision and recall of each class on the test images"
    classes = np.arange(len(precision))
    height = min(1.4 + 0.36 * len(classes), 12)
    left = 0.17 if predictions.class_names else 0.09
    figure, axes = _figure(7.2, height, title, left=left, right=0.97, bottom=0.6 / height)
    axes.hlines(classes, precision, recall, color="#d0d7de", linewidth=3, zorder=1)
    axes.scatter(precision, classes, s=52, marker="o", color=_BLUE, label="precision", zorder=3)
    axes.scatter(recall, classes, s=58, marker="D", color=_ORANGE, label="recall", zorder=2)
    known = np.concatenate([precision, recall])
    known = known[np.isfinite(known)]
    lowest = float(known.min()) if len(known) else 0.0
    axes.set_xlim(max(0.0, lowest - 0.15 * max(1 - lowest, 0.01)), 1 + 0.04 * (1 - lowest))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    axes.set(ylabel="class", ylim=(len(classes) - 0.4, -0.6))
    if predictions.class_names and len(classes) <= _MOST_NAMES:
        axes.set_yticks(
            classes, _names(predictions), fontsize=9 if len(classes) <= _MANY_CLASSES else 7
        )
    elif len(classes) <= _MANY_CLASSES:
        axes.set_yticks(classes)
    axes.grid(axis="x", color="#eaeef2")
    axes.set_axisbelow(True)
    below = {"bbox_to_anchor": (left, 0.04 / height), "bbox_transform": figure.transFigure}
    axes.legend(loc="lower left", ncols=2, frameon=False, borderaxespad=0, **below)
    return figure


def reliability(predictions: Predictions) -> Figure:
    """Draw accuracy against confidence, with the number of images that each bin holds."""
    bins = predictions.reliability()
    title = f"Reliability on the test images: expected calibration error {bins.ece:.2%}"
    figure, axes = _figure(6.4, 6.4, title, left=0.11, right=0.97, bottom=0.34)
    edges = np.linspace(0, 1, len(bins.images) + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, 0.92 / len(bins.images)
    accuracy, confidence = bins.accuracy.numpy(), bins.confidence.numpy()
    is_filled = bins.images.numpy() > 0
    at, acc, conf = middles[is_filled], accuracy[is_filled], confidence[is_filled]
    axes.bar(at, acc, width, color=_BLUE, label="accuracy")
    axes.bar(
        at,
        conf - acc,
        width,
        bottom=acc,
        facecolor="none",
        edgecolor=_ORANGE,
        hatch="////",
        linewidth=1,
        label="gap to confidence",
    )
    axes.plot([0, 1], [0, 1], color=_INK, linestyle="--", linewidth=1, label="as it should be")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of correct preds")
    axes.legend(loc="upper left", frameon=False)
    below = figure.add_axes((0.11, 0.09, 0.86, 0.19), sharex=axes)
    below.bar(middles, bins.images.numpy(), width, color=_MUTED)
    below.set_yscale("symlog", linthresh=1)
    below.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    below.set_ylim(0, max(10.0, 3.0 * float(bins.images.max())))
    _frame(below)
    return figure


def filters(weight: Tensor) -> Figure | None:
    """Draw the weights of the first layer as images: blue is negative, red positive.

    They are ``(units, 784)`` or ``(channels, 1, height, width)``; of many, those of the largest
    norm are drawn. None where the weights have not the form of images.
    """
    if weight.ndim == 2 and weight.shape[1] == _SIDE**2:
        images, name = weight.view(-1, _SIDE, _SIDE), "units"
    elif weight.ndim == 4 and weight.shape[1] == 1:
        images, name = weight[:, 0], "filters"
    else:
        return None
    images = images.detach().float().cpu().nan_to_num(0.0)
    total, height, width = images.shape
    which = f"the {total} {name}"
    if total > _MOST_FILTERS:
        largest = images.flatten(1).norm(dim=1).argsort(descending=True, stable=True)
        images = images[largest[:_MOST_FILTERS]]
        which = f"the {_MOST_FILTERS} largest of {total} {name}"
    columns = min(len(images), 10 if len(images) <= 20 else 8)
    rows = math.ceil(len(images) / columns)
    inches = 0.72 * columns + 1.1
    tall = 0.72 * rows * height / width
    title = f"First layer: weights of {which}"
    figure, axes = _figure(inches, tall + 0.7, title, left=0.2 / inches, right=1 - 1 / inches)
    limit = float(images.abs().quantile(0.995) if images.numel() < 1e6 else images.abs().amax())
    tiles = axes.imshow(
        _tiles(images, columns, rows), cmap="RdBu_r", vmin=-limit or -1, vmax=limit or 1
    )
    axes.set_axis_off()
    place = axes.get_position()
    bar = figure.add_axes((1 - 0.85 / inches, place.y0, 0.15 / inches, place.height))
    figure.colorbar(tiles, cax=bar)
    bar.tick_params(labelsize=8, colors=_INK)
    return figure


def _tiles(images: Tensor, columns: int, rows: int) -> NDArray[np.float64]:
    """Return images ``(N, H, W)`` in a grid, with NaN between them."""
    _, height, width = images.shape
    gap = max(1, round(width / 10))
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for number, image in enumerate(images.numpy()):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


# Figures of predictions, by the names of their tags and of the arguments of ``Pictures``.
OF_PREDICTIONS = {
    "confusion": confusion,
    "mistakes": mistakes,
    "samples": samples,
    "per_class": per_class,
    "reliability": reliability,
}


def _figure(
    width: float,
    height: float,
    title: str,
    left: float = 0.03,
    right: float = 0.97,
    bottom: float = 0.03,
) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one pair of axes below its title."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.text(
        0.5, 1 - 0.26 / height, title, ha="center", va="center", fontsize=11, color=_INK, wrap=True
    )
    top = 1 - 0.5 / height
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    _frame(axes)
    return figure, axes


def _frame(axes: Axes) -> None:
    axes.tick_params(colors=_INK, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color("#8c959f")


def _mosaic(
    title: str,
    images: Tensor,
    captions: list[tuple[str, str, str]],
    columns: int,
    rows: int,
    width: float,
) -> Figure:
    """Draw images in a grid as one, which takes a tenth of the time of a pair of axes for each.

    Images ``(N, 1, 28, 28)`` uint8 are shown dark on light as they were written; a caption is two
    lines of text and their colour. The width of the images is in inches.
    """
    across = _SIDE + _GAP
    line = _LINE * (columns * across - _GAP) / (94 * width)  # in pixels of the images
    down = _SIDE + math.ceil(2.4 * line)
    canvas: Any = np.full((rows * down, columns * across - _GAP), 255, dtype=np.uint8)
    height = width * canvas.shape[0] / canvas.shape[1] + 0.55
    figure, axes = _figure(max(width, _LEAST_WIDTH), height, title)
    for number, (image, (first, second, color)) in enumerate(zip(images, captions, strict=True)):
        top, left = number // columns * down, number % columns * across
        canvas[top : top + _SIDE, left : left + _SIDE] = 255 - image[0].numpy()
        middle = left + _SIDE / 2
        place: dict[str, Any] = {"ha": "center", "va": "top", "color": color}
        axes.text(middle, top + _SIDE, first, fontsize=9, weight="bold", **place)
        axes.text(middle, top + _SIDE + line, second, fontsize=8, **place)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    return figure
