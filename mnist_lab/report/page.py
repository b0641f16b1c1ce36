"""A report as one HTML file that needs no network."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mnist_lab.files.images import data_address
from mnist_lab.report import charts
from mnist_lab.report.curves import Curve
from mnist_lab.report.leaderboard import SHOWN, Leaderboard, Row, interval_text, metric_text, shown

if TYPE_CHECKING:
    from mnist_lab.inference.predictions import Answers

_MISTAKES = 12  # of each model


class Cell(NamedTuple):
    """A cell of the leaderboard: what it says, what it is sorted by, and whether it is words."""

    text: str
    value: str = ""
    words: bool = False


def page(
    board: Leaderboard,
    curves: Mapping[str, Mapping[str, Curve]],
    models: Iterable[tuple[str, "Answers"]],
    comparison: Sequence[str] = (),
) -> str:
    """Return the whole page.

    Args:
        board: the rows.
        curves: learning curves, by the names of their runs.
        models: what models answered to the test images, by their names.
        comparison: lines about two rows.
    """
    folder = Path(__file__).parent
    # Names and values come from files, and a directory may be called <script>.
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True)
    runs = sum(len(row.runs) for row in board.rows)
    return environment.get_template("page.html.jinja").render(
        plotly_js=Markup(get_plotlyjs()),
        summary=f"{runs:,} runs in {len(board.rows):,} rows, sorted by validation accuracy.",
        comparison=comparison,
        columns=columns(board),
        rows=[cells(board, row) for row in board.rows],
        charts=[
            {"title": title, "text": text, "html": _html(figure), "width": _width(figure)}
            for title, text, draw in _charts(board, curves)
            if (figure := draw()) is not None
        ],
        models=[
            {
                "title": name,
                "text": f"{found.accuracy:.2%} of {len(found.labels):,} test images; the most "
                "confident mistakes, and the probability of the answer.",
                "html": _html(charts.confusion_matrix(found.confusion(), name)),
                "mistakes": _mistakes(found),
            }
            for name, found in models
        ],
    )


def _charts(
    board: Leaderboard, curves: Mapping[str, Mapping[str, Curve]]
) -> list[tuple[str, str, Callable[[], Any]]]:
    return [
        (
            "Learning curves",
            "Of each of the best rows, the run that is best on validation. A click on a name "
            "hides its curve, two clicks show it alone.",
            lambda: charts.learning_curves(curves),
        ),
        (
            "Accuracy and time",
            "Each row's mean, with its 95 % interval where there are several seeds.",
            lambda: charts.accuracy_against(board, "time/fit", "seconds of training"),
        ),
        (
            "Accuracy and parameters",
            "Each row's mean, with its 95 % interval where there are several seeds.",
            lambda: charts.accuracy_against(board, "num_params", "parameters"),
        ),
        (
            "Parallel coordinates",
            "Each run is a line through the values of what differs; the warmer, the better it is "
            "on validation. A click on a name hides its lines.",
            lambda: charts.parallel_coordinates(board),
        ),
    ]


def columns(board: Leaderboard) -> list[str]:
    """Return the headings of the leaderboard."""
    # The result comes first: on a phone nothing else is seen without scrolling.
    first, rest = SHOWN[:2], SHOWN[2:]
    intervals = [f"{name} 95 %" for name in first]
    return ["row", *first, *(board.headings or ["model"]), "n", *intervals, *rest]


def cells(board: Leaderboard, row: Row) -> list[Cell]:
    """Return a row of the leaderboard."""
    found = [Cell(str(row.number), str(row.number))]
    found += [_metric(row, name) for name in SHOWN[:2]]
    for key in board.keys or ["model._target_"]:
        value = row.settings.get(key)
        text = row.model if key == "model._target_" else shown(value)
        found.append(Cell(text, text, isinstance(value, str)))
    n = f"{len(row.runs)}{'*' if row.repeats_seeds else ''}"
    found.append(Cell(n, str(len(row.runs))))
    for name in SHOWN[:2]:
        text = interval_text(row.metrics.get(name))
        found.append(Cell(text, _metric(row, name).value if text else ""))
    return [*found, *(_metric(row, name) for name in SHOWN[2:])]


def _metric(row: Row, name: str) -> Cell:
    spread, mean = row.metrics.get(name), row.mean(name)
    return Cell(metric_text(name, spread), repr(mean) if math.isfinite(mean) else "")


def _width(figure: Any) -> int:
    """Return the pixels below which a chart is scrolled: axes side by side need room for labels."""
    return 95 * len(figure.layout.xaxis.ticktext) if figure.layout.annotations else 0


def _html(figure: Any) -> Markup:
    config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    text = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return Markup(text)  # Plotly escapes what ends a script, and charts.py the rest


def _mistakes(answers: "Answers") -> list[dict[str, str]]:
    return [
        {
            "image": data_address(255 - answers.images[position, 0].numpy()),  # as it was written
            "label": str(int(answers.labels[position])),
            "pred": str(int(answers.preds[position])),
            "confidence": f"{float(answers.confidences[position]):.1%}",
        }
        for position in answers.mistakes(_MISTAKES).tolist()
    ]
