"""Pixels of figures, whatever style the user has."""

import matplotlib
from matplotlib.figure import Figure

from mnist_lab.inference.drawing import default_style, pixels


@default_style()
def drawn() -> tuple[int, ...]:
    figure = Figure(figsize=(2, 1))
    figure.text(0.5, 0.5, "a text")
    return pixels(figure).shape


def test_the_users_style_is_left_out_and_left() -> None:
    for _ in range(2):  # as a decorator, each time anew
        with matplotlib.rc_context({"text.usetex": True, "figure.dpi": 10}):
            assert drawn() == (100, 200, 3)
            assert matplotlib.rcParams["text.usetex"]
