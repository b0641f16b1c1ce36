"""Figures of a test: the counts and captions that they show."""

from typing import Any

import matplotlib
import pytest
import torch

from mnist_lab.callbacks import figures
from mnist_lab.inference.drawing import default_style, pixels
from mnist_lab.inference.predictions import Predictions


def test_confusion_shows_every_count() -> None:
    right = torch.arange(10).repeat_interleave(torch.arange(900, 1000, 10))
    labels = torch.cat([right, torch.full((7,), 3)])
    preds = torch.cat([right, torch.full((7,), 5)])
    probs = torch.nn.functional.one_hot(preds, 10).float()
    figure = figures.confusion(Predictions(torch.empty(0), labels, probs))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {str(count) for count in range(900, 1000, 10)} | {"7"} == texts
    assert "99.93%" in figure.texts[0].get_text()


def test_mistakes_name_label_pred_and_probability(mnist_test: Any) -> None:
    labels = mnist_test.labels[:50]
    logits = torch.zeros(50, 10)
    logits[torch.arange(50), labels] = 8
    logits[7] = torch.tensor([0.0] * 9 + [3.0])
    predictions = Predictions.of_logits(mnist_test.images[:50], labels, logits)
    figure = figures.mistakes(predictions)
    right = int(labels[7])
    texts = [text.get_text() for text in figure.axes[0].texts]
    if right == 9:
        assert texts == []
    else:
        assert texts == [f"{right} taken for 9", f"{predictions.confidences[7]:.1%}"]


def test_a_style_of_the_current_folder_is_not_taken() -> None:
    """It could have LaTeX run, which is not even there."""
    with matplotlib.rc_context({"text.usetex": True, "figure.dpi": 10}):
        with default_style():
            predictions = Predictions(torch.empty(0), torch.arange(10), torch.eye(10))
            drawn = pixels(figures.confusion(predictions))
        assert matplotlib.rcParams["text.usetex"]
    assert drawn.shape[0] > 300


def test_names_of_classes_are_shown_short_and_as_they_are() -> None:
    names = ("cat", "a very long name", "$x^2", "{$\\frac", "猫", *"fghij")
    labels, probs = torch.arange(10), torch.eye(10).roll(1, 0)
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    predictions = Predictions(images, labels, probs, names)
    drawn = {name: draw(predictions) for name, draw in figures.OF_PREDICTIONS.items()}
    for figure in drawn.values():  # a glyph that is missing, or a formula, would fail here
        pixels(figure)
    ticks = [text.get_text() for text in drawn["confusion"].axes[0].get_xticklabels()]
    assert ticks[:2] == ["cat", "a very lon…"]
    assert ticks[4] == "4"
    texts = [text.get_text() for text in drawn["mistakes"].axes[0].texts]
    assert texts[:2] == ["cat", "for j, 100%"]
    assert drawn["per_class"].axes[0].get_yticklabels()[0].get_text() == "cat"
    assert drawn["samples"].axes[0].texts[0].get_text() == "j"


def some(classes: int, names: tuple[str, ...] = ()) -> Predictions:
    """Return predictions of some classes, all of which are right."""
    labels = torch.arange(5 * classes) % classes
    images = torch.zeros(len(labels), 1, 28, 28, dtype=torch.uint8)
    return Predictions(images, labels, torch.eye(classes)[labels], names)


@pytest.mark.parametrize("classes", [2, 3, 10, 21])
def test_titles_and_legends_have_their_room(classes: int) -> None:
    for draw in figures.OF_PREDICTIONS.values():
        figure = draw(some(classes))
        pixels(figure)
        whole, (title,) = figure.bbox, figure.texts
        box = title.get_window_extent()
        assert box.x0 >= 0
        assert box.y1 <= whole.y1
        assert box.x1 <= whole.x1
        assert not box.overlaps(figure.axes[0].get_window_extent())
    figure = figures.per_class(some(classes))
    pixels(figure)
    legend = figure.axes[0].get_legend().get_window_extent()
    ticks = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert legend.y0 >= 0
    assert not any(legend.overlaps(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("classes", "which"), [(20, "each class:"), (21, "first 20 of 21 classes:")]
)
def test_samples_say_which_classes_they_are_of(classes: int, which: str) -> None:
    assert which in figures.samples(some(classes)).texts[0].get_text()


def test_names_that_begin_alike_have_their_numbers() -> None:
    axes = figures.per_class(some(2, ("shape of a disk", "shape of a square"))).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0 shape of…", "1 shape of…"]
