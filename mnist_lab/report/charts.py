"""Charts of a report, drawn with Plotly.

Text from files is escaped, as Plotly interprets some HTML in every text.
"""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from mnist_lab.report.curves import CURVES, Curve
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.runs.summary import Spread, interval

COSTS = {"time": ("time/fit", "seconds of training"), "parameters": ("num_params", "parameters")}
"""What accuracy is drawn against: a metric, and the title of its axis."""
_COLORS = qualitative.D3
_MAX_LABEL = 40  # characters
_MAX_NAME = 300  # of a curve, in lines of
_NAME_LINE = 60


def short(text: str, most: int = _MAX_LABEL) -> str:
    """Return an escaped text, cut off where it is long."""
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def folded(text: str) -> str:
    """Return an escaped text in lines; names of curves may differ at their ends alone."""
    lines = textwrap.wrap(text, _NAME_LINE, break_on_hyphens=False)
    whole = "\n".join(lines)
    return short(whole, _MAX_NAME).replace("\n", "<br>")


def learning_curves(curves_of: Mapping[str, Mapping[str, Curve]]) -> go.Figure | None:
    """Draw the curves of some runs, one metric at a time."""
    logged = {name for curves in curves_of.values() for name in curves}
    names = [name for name in CURVES if name in logged] + sorted(logged - {*CURVES})
    if not names:
        return None
    figure = go.Figure()
    shown: list[str] = []  # the metric of each trace
    for number, (label, curves) in enumerate(curves_of.items()):
        for name in names:
            if name not in curves:
                continue
            epochs, values = zip(*curves[name], strict=True)
            shown.append(name)
            figure.add_scatter(
                x=epochs,
                y=values,
                name=folded(label),
                mode="lines+markers" if len(epochs) < 30 else "lines",
                line={"color": _COLORS[number % len(_COLORS)], "width": 2},
                visible=name == names[0],
            )
    finish(figure, "epoch", names[0])
    last = max(trace.x[-1] for trace in figure.data)
    figure.update_xaxes(tick0=1, dtick=max(1, math.ceil(last / 12)))
    figure.update_yaxes(tickformat=_axis_of(names[0])["yaxis.tickformat"])
    figure.update_layout(margin_t=60, updatemenus=[_menu(names, shown)])
    return figure


def _menu(names: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    buttons = [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": [trace == name for trace in shown]}, _axis_of(name)],
        }
        for name in names
    ]
    return {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.2, "yanchor": "top"}


def _axis_of(name: str) -> dict[str, Any]:
    return {"yaxis.title.text": name, "yaxis.tickformat": ".1%" if "acc" in name else ""}


def accuracy_against(
    board: Leaderboard, name: str, title: str, shows_test: bool = True
) -> go.Figure | None:
    """Draw each row's accuracy on validation, and on test, against another metric, on a log scale.

    Each kind of model has a colour, and each split a sign.
    """
    figure = go.Figure()
    models = list(dict.fromkeys(row.target for row in board.rows))
    metrics = ("val/acc", "test/acc") if shows_test else ("val/acc",)
    for (number, metric), target in itertools.product(enumerate(metrics), models):
        rows = [
            row
            for row in board.rows
            if row.target == target
            and row.mean(name) > 0
            and math.isfinite(row.mean(name) * row.mean(metric))
        ]
        if not rows:
            continue
        figure.add_scatter(
            x=[row.mean(name) for row in rows],
            y=[row.mean(metric) for row in rows],
            error_y=_intervals(metric, [row.metrics[metric] for row in rows]),
            mode="markers",
            name=metric if len(models) == 1 else f"{short(rows[0].model)} {metric}",
            text=[f"{row.number}: {folded(board.label(row))}" for row in rows],
            hovertemplate="%{text}<br>%{y:.2%}, %{x:,.4~g}<extra></extra>",
            marker={
                "color": _COLORS[models.index(target) % len(_COLORS)],
                "size": 9,
                "symbol": ("circle", "diamond-open")[number],
            },
        )
    if not figure.data:
        return None
    finish(figure, title, "accuracy")
    # With more ticks Plotly labels each multiple of a power of ten, not 1, 2 and 5 times it alone.
    figure.update_xaxes(type="log", tickformat=",~r", nticks=4)
    heights = [y for trace in figure.data for y in trace.y]
    figure.update_yaxes(tickformat=".1%" if max(heights) - min(heights) > 0.01 else ".2%")
    return figure


def _intervals(name: str, spreads: Sequence[Spread]) -> dict[str, Any] | None:
    """Return the bars of 95 % intervals; None where none is."""
    ends = [interval(name, spread) or (spread.mean, spread.mean) for spread in spreads]
    above = [high - spread.mean for (_, high), spread in zip(ends, spreads, strict=True)]
    below = [spread.mean - low for (low, _), spread in zip(ends, spreads, strict=True)]
    if not any(above) and not any(below):
        return None
    return {"array": above, "arrayminus": below, "symmetric": False, "thickness": 1, "width": 2}


def confusion_matrix(counts: Any, name: str, names: Sequence[str] = ()) -> go.Figure:
    """Draw counts ``(C, C)`` by label and prediction, coloured by their square roots."""
    total = counts.sum(dim=1, keepdim=True).clamp(min=1)
    share = (counts / total).sqrt().tolist()
    table = counts.tolist()
    classes = [short(text) for text in names] or [str(label) for label in range(len(table))]
    if len({*classes}) < len(classes):  # as when long ones begin alike
        classes = [f"{label} {text}" for label, text in enumerate(classes)]
    figure = go.Figure(
        go.Heatmap(
            z=share,
            x=classes,
            y=classes,
            text=[[f"{count}" if count else "" for count in line] for line in table],
            customdata=table,
            texttemplate="%{text}" if len(classes) <= 20 else None,
            hovertemplate="label %{y}, pred %{x}: %{customdata}<extra></extra>",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            showscale=False,
            name=escape(name),
        )
    )
    finish(figure, "predicted", "label")
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def finish(figure: go.Figure, x: str, y: str) -> None:
    """Set the titles of the axes and what all charts have in common; the page sets the colours."""
    figure.update_layout(
        template="none",
        height=420,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0},
        font={"family": "system-ui, sans-serif", "size": 13},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title={"text": x, "standoff": 6}, automargin=True)
    figure.update_yaxes(title_text=y, automargin=True)
