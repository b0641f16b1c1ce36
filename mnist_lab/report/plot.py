"""Charts of a report for a notebook."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.config.extras import require
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.report.curves import curves
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.read_runs import collect, has_trials

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CHARTS = ("curves", "time", "parameters", "confusion")
_CURVES = 10  # best rows whose learning curves are drawn
_log = logging.getLogger(__name__)


def plot(*places: str | Path, chart: str = "curves", test: bool = False) -> "go.Figure":
    """Draw a chart of ``mnist-lab report``, which a notebook shows.

    Args:
        places: directories of runs and sweeps, or above them.
        chart: ``curves`` are the learning curves of the best rows; ``time`` and ``parameters`` are
            each row's accuracy against seconds of training and number of parameters;
            ``confusion`` is the best row's confusion matrix of the test images.
        test: whether to draw test accuracy of a sweep's trials as well, which nothing should be
            chosen by.

    Returns:
        Plotly's figure.

    Raises:
        ConfigError: there is no such chart, or Plotly is not installed.
        InputError: there is no finished run, or nothing of it to draw.
    """
    if chart not in _CHARTS:
        raise ConfigError(f"chart={chart}: must be one of {', '.join(_CHARTS)}")
    require("report", "plotly", by="plot")
    from mnist_lab.report import charts

    collected = collect(map(Path, places))
    for line in collected.broken:
        _log.warning("left out: %s", line)
    if not collected.runs:
        raise InputError(f"{', '.join(map(str, places))}: no finished run in or below it")
    board = Leaderboard(collected.runs)
    shows_test = test or not has_trials(collected.runs)
    match chart:
        case "curves":
            rows = board.rows[:_CURVES]
            drawn = [curves(board.best_run(row).path, board.sorted_by) for row in rows]
            figure = charts.learning_curves(dict(zip(board.names(rows), drawn, strict=True)))
        case "time" | "parameters":
            figure = charts.accuracy_against(board, *charts.COSTS[chart], shows_test)
        case _:
            from mnist_lab.inference.evaluate import predict_test_images

            row = board.rows[0]
            predictions = predict_test_images(board.best_run(row).path)
            figure = charts.confusion_matrix(
                predictions.confusion(), board.name(row), predictions.class_names
            )
    if figure is None:
        raise InputError(f"{', '.join(map(str, places))}: nothing logged that this chart draws")
    return figure
