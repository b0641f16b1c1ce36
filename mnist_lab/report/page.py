"""Page of a report: one HTML file that needs no network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mnist_lab.errors import printable
from mnist_lab.files.images import data_url
from mnist_lab.report import charts
from mnist_lab.report.curves import Curve
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.population_chart import lineage
from mnist_lab.runs.summary import counted

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_lab.inference.predictions import Predictions

_MISTAKES = 12  # of each model
_CURVES_TEXT = (
    "Of each of the best rows, the run that is best on validation. A click on a name hides its "
    "curve, two clicks show it alone."
)
_LINEAGE_TEXT = (
    "A line is a trial, and an arrow leads from a trial to one that has copied it. The thick line "
    "goes through the trials that trained the weights of the best run."
)


def page(
    board: Leaderboard,
    curves: Mapping[str, Mapping[str, Curve]],
    models: Iterable[tuple[str, "Predictions"]],
    comparison: Sequence[str] = (),
    shows_test: bool = True,
) -> str:
    """Return the whole page.

    Args:
        board: the rows.
        curves: by the name of a row its learning curves.
        models: of some rows the name and the predictions of the test images.
        comparison: lines about two rows.
        shows_test: whether test metrics stand beside those that rows are chosen by.
    """
    # Names and values come from files, and a directory may be called <script>.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    runs = sum(len(row.runs) for row in board.rows)
    return environment.get_template("page.html.jinja").render(
        plotly_js=Markup(get_plotlyjs()),
        summary=f"{counted(runs, 'run')} in {counted(len(board.rows), 'row')}, sorted by "
        f"{board.sorted_by}.",
        comparison=list(map(printable, comparison)),
        rows=[board.cells(row, shows_test) for row in board.rows],
        charts=list(_charts(board, curves, shows_test)),
        models=[_model(name, predictions, shows_test) for name, predictions in models],
    )


def _charts(
    board: Leaderboard, curves: Mapping[str, Mapping[str, Curve]], shows_test: bool
) -> Iterator[dict[str, Any]]:
    means = "Each row's mean, with its 95 % interval where there are several seeds."
    figures = {("Learning curves", _CURVES_TEXT): charts.learning_curves(curves)}
    for name, cost in charts.COSTS.items():
        figures[f"Accuracy and {name}", means] = charts.accuracy_against(board, *cost, shows_test)
    figures["Lineage of the population", _LINEAGE_TEXT] = lineage(board)
    for (title, text), figure in figures.items():
        if figure is not None:
            yield {"title": title, "text": text, "html": _html(figure)}


def _model(name: str, predictions: "Predictions", shows_test: bool) -> dict[str, Any]:
    counts, names = predictions.confusion(), predictions.class_names
    return {
        "title": name,
        "text": f"{f'{predictions.accuracy:.2%} of ' if shows_test else ''}"
        f"{len(predictions.labels):,} test images; the most confident mistakes, and the "
        "probability of the answer.",
        "html": _html(charts.confusion_matrix(counts, name, names)),
        "mistakes": _mistakes(predictions),
    }


def _html(figure: Any) -> Markup:
    config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    text = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return Markup(text)  # Plotly escapes what ends a script, and charts.py the rest


def _mistakes(predictions: "Predictions") -> list[dict[str, str]]:
    return [
        {
            "image": data_url(_pixels(predictions.images[position]).numpy()),
            "label": predictions.name(int(predictions.labels[position])),
            "pred": predictions.name(int(predictions.preds[position])),
            "confidence": f"{float(predictions.confidences[position]):.1%}",
        }
        for position in predictions.mistakes(_MISTAKES).tolist()
    ]


def _pixels(image: "Tensor") -> "Tensor":
    """Return an image in its colours, or its first channel dark on light, as it was written."""
    return image.movedim(0, 2) if len(image) == 3 else 255 - image[0]
