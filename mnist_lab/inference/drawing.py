"""Style and pixels of what is drawn with matplotlib."""

import contextlib
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Draw as matplotlib does by default, whatever a matplotlibrc in the current folder says.

    One that came from somebody else could have LaTeX run.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def pixels(figure: Figure) -> Pixels:
    """Return a figure as ``(H, W, 3)``, without pyplot, which takes a while to import."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
