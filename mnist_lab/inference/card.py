"""Model card of a run: protocol, figures by class, calibration, corruptions, and other writers.

Source: Mitchell et al., "Model cards for model reporting", 2019 (arXiv:1810.03993).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from mnist_lab.config.saved import stored_config
from mnist_lab.errors import printable
from mnist_lab.files.images import data_url
from mnist_lab.inference.corruptions import CORRUPTIONS, corrupted, moved
from mnist_lab.inference.drawing import Pixels, default_style, pixels
from mnist_lab.inference.evaluate import load_model, predict_test_images
from mnist_lab.inference.predictions import Predictions, logits_in_batches
from mnist_lab.models.layers import fitted
from mnist_lab.runs.manifest import TEST_READINGS, is_sealed, read_manifest

_EVERY = 5  # test images in one of the curves
_ANGLES = range(-60, 61, 15)  # degrees
_SHIFTS = range(0, 9, 2)  # pixels to the right and down
_SHOWN = 12  # images of each corruption


@dataclass(frozen=True)
class Section:
    """A part of a card.

    Args:
        title: its heading.
        text: what the figures are.
        columns: headings of its table; none where there is none.
        rows: of the table.
        picture: ``(H, W) uint8`` or ``(H, W, 3)``; None is none.
        caption: what the picture shows.
    """

    title: str
    text: str
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: Pixels | None = None
    caption: str = ""


def card(run_dir: Path, overrides: Sequence[str] = ()) -> list[Section]:
    """Return the sections of a run's card; its test images are read, which a sealed run counts.

    Raises:
        InputError: the run cannot be read, its model gives no probabilities, or its test images
            are not grey ones of bytes, which the corruptions are made of.
        UntrustedError: the run names code that is not the lab's and was not allowed.
    """
    predictions = predict_test_images(run_dir, overrides, by="card", needs_grey=True)
    model = load_model(run_dir, stored_config(run_dir, overrides)).float().eval()
    sections = [_protocol(run_dir, model), *_clean(predictions), _corrupted(model, predictions)]
    sections.append(_curves(model, predictions))
    return [*sections, _other_writers(model, predictions)]


def _protocol(run_dir: Path, model: Any) -> Section:
    manifest = read_manifest(run_dir)
    config, data = manifest.get("config") or {}, manifest.get("data") or {}
    sealed, readings = is_sealed(config), manifest.get(TEST_READINGS, [])
    rows = {
        "model": type(model).__name__,
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "data": config.get("data.dataset"),
        "validation images": config.get("data.val_size"),
        "protocol": "sealed" if sealed else "open: readings of the test images are not counted",
        "test readings": ", ".join(f"{one.get('by')} {one.get('at')}" for one in readings),
        **{f"sha256 of the {part} data": data[part] for part in sorted(data)},
        "sha256 of the weights": (manifest.get("sha256") or {}).get("model"),
        "seed": config.get("seed"),
        "commit": (manifest.get("git") or {}).get("commit"),
        "versions": ", ".join(f"{k} {v}" for k, v in (manifest.get("versions") or {}).items()),
    }
    known = {name: str(value) for name, value in rows.items() if value not in ("", None)}
    table = [(name, printable(value)) for name, value in known.items()]
    return Section(f"Model card of {printable(run_dir.name)}", "", ("what", "value"), table)


def _clean(predictions: Predictions) -> Iterator[Section]:
    precision, recall = predictions.precision_and_recall()
    counts = predictions.labels.bincount(minlength=predictions.num_classes)
    rows = [
        (predictions.name(label), f"{counts[label]:,}", f"{hit:.2%}", f"{right:.2%}")
        for label, (right, hit) in enumerate(zip(precision, recall, strict=True))
    ]
    text = f"{predictions.accuracy:.2%} of {len(predictions.labels):,} test images."
    yield Section("By class", text, ("class", "images", "accuracy", "precision"), rows)
    right = predictions.probs.gather(1, predictions.labels[:, None]).clamp_min(1e-12)
    text = (
        f"Expected calibration error {predictions.reliability().ece:.4f}; mean confidence "
        f"{float(predictions.confidences.mean()):.2%}; loss {float(-right.log().mean()):.4f}."
    )
    yield Section("Calibration", text)


def _accuracy(model: Any, images: Tensor, labels: Tensor) -> float:
    is_right = logits_in_batches(model, images).argmax(dim=1) == labels
    return float(is_right.double().mean())


def _corrupted(model: Any, predictions: Predictions) -> Section:
    found, shown = {}, []
    for name in CORRUPTIONS:
        images = corrupted(predictions.images, name)
        found[name] = _accuracy(model, images, predictions.labels)
        shown.append(torch.cat(list(images[:_SHOWN, 0]), dim=1))
    rows = [(name.replace("_", " "), f"{value:.2%}") for name, value in found.items()]
    return Section(
        "Corruptions",
        f"Mean of 15: {sum(found.values()) / len(found):.2%}. The kinds are those of MNIST-C (Mu "
        "and Gilmer, 2019), made here by other code with other strengths: compare with cards, not "
        "with published figures.",
        ("corruption", "accuracy"),
        rows,
        torch.cat(shown).numpy(),
        "The first test images under each corruption, in the order of the table",
    )


def _curves(model: Any, predictions: Predictions) -> Section:
    images, labels = predictions.images[::_EVERY].float(), predictions.labels[::_EVERY]

    def at(**amounts: float) -> float:
        return _accuracy(model, moved(images, **amounts).round().to(torch.uint8), labels)

    turned = {degrees: at(degrees=degrees) for degrees in _ANGLES}
    shifted = {pixels: at(right=pixels, down=pixels) for pixels in _SHIFTS}
    rows = [(f"{degrees} degrees", f"{value:.2%}") for degrees, value in turned.items()]
    rows += [(f"{pixels} pixels", f"{value:.2%}") for pixels, value in shifted.items()]
    text = f"On each {_EVERY}th test image, rotated against the clock, or shifted right and down."
    picture = _drawn({"rotation in degrees": turned, "shift in pixels": shifted})
    return Section(
        "Rotation and shift", text, ("by", "accuracy"), rows, picture, "Accuracy by both"
    )


@default_style()
def _drawn(curves: dict[str, dict[int, float]]) -> Pixels:
    figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
    for number, (name, curve) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), number)
        axes.plot(list(curve), [100 * value for value in curve.values()], marker="o")
        axes.set(xlabel=name, ylabel="accuracy in %", ylim=(0, 102))
        axes.grid(alpha=0.3)
    return pixels(figure)


def _other_writers(model: Any, predictions: Predictions) -> Section:
    title = "Other writers"
    if predictions.class_names or predictions.num_classes != 10:
        return Section(title, "The classes are not the ten digits.")
    if find_spec("sklearn") is None:
        return Section(title, "scikit-learn, which has other digits, is not installed.")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] * (255 / 16)
    grown = F.interpolate(images, (20, 20), mode="bilinear").clamp(0, 255).round()
    images = F.pad(grown, (4, 4, 4, 4)).to(torch.uint8)  # as MNIST has 20 pixels in 28
    images, labels = fitted(images, predictions.images.shape[1:]), torch.tensor(digits.target)
    text = (
        f"{_accuracy(model, images, labels):.2%} of the {len(labels):,} digits of scikit-learn, "
        "8x8 images of 43 writers, enlarged to 20x20 in 28x28."
    )
    return Section(title, text)


def as_markdown(sections: Sequence[Section], pictures: Sequence[str], generator: str) -> str:
    """Return a card as Markdown, which says what has written it.

    ``pictures`` are the files of those sections that have one.
    """
    files, lines = iter(pictures), [f"<!-- {generator} -->", ""]
    for number, section in enumerate(sections):
        lines += [f"{'#' if number == 0 else '##'} {escape(section.title)}", ""]
        lines += [section.text, ""] if section.text else []
        if section.columns:
            lines += [_row(section.columns), _row(["---"] * len(section.columns))]
            lines += [*map(_row, section.rows), ""]
        if section.picture is not None:
            lines += [f"![{section.caption}]({next(files)})", ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(cell).replace('|', '&#124;') for cell in cells)} |"


def as_html(sections: Sequence[Section], generator: str) -> str:
    """Return a card as one HTML page that needs no network, and says what has written it."""
    parts = [
        f'<!doctype html><meta charset=utf-8><meta name="generator" content="{generator}">'
        f"<title>{escape(sections[0].title)}</title>{_STYLE}"
    ]
    for number, section in enumerate(sections):
        heading = "h1" if number == 0 else "h2"
        parts.append(f"<{heading}>{escape(section.title)}</{heading}><p>{escape(section.text)}</p>")
        if section.columns:
            head = "".join(f"<th>{escape(name)}" for name in section.columns)
            body = ("".join(f"<td>{escape(cell)}" for cell in row) for row in section.rows)
            parts.append(f"<table><tr>{head}{''.join(f'<tr>{cells}' for cells in body)}</table>")
        if section.picture is not None:
            caption = escape(section.caption)
            parts.append(f'<p><img src="{data_url(section.picture)}" alt="{caption}"><br>{caption}')
    return "\n".join(parts) + "\n"


_STYLE = (
    "<style>body{font:15px system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em}"
    "td,th{padding:2px 12px 2px 0;text-align:left;overflow-wrap:anywhere}"
    "img{max-width:100%}</style>"
)
