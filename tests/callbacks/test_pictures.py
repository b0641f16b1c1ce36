"""The confusion matrix as a picture."""

import torch

from mnist_lab.callbacks.pictures import confusion_figure


def test_shows_every_count() -> None:
    confusion = torch.diag(torch.arange(900, 1000, 10))
    confusion[3, 5] = 7
    figure = confusion_figure(confusion)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {str(count) for count in range(900, 1000, 10)} | {"7"} == texts
    assert "99.93 %" in figure.axes[0].get_title().replace("%", " %")
