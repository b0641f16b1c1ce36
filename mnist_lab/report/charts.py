"""The charts of a report, drawn with Plotly.

What comes from files is escaped, as Plotly takes a part of HTML in every text.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative, sample_colorscale

from mnist_lab.report.curves import CURVES, Curve
from mnist_lab.report.leaderboard import SORTED_BY, Leaderboard, Row, shown
from mnist_lab.report.read_runs import Run

_COLORS = qualitative.D3
# Neither end fades, on white or on black.
_COLD_TO_WARM = ["rgb(76, 141, 240)", "rgb(165, 107, 208)", "rgb(232, 98, 44)"]
_STEPS = 12  # colours of the lines in parallel coordinates
_MAX_LINES = 2_000
_MAX_AXES = 8
_MAX_TICKS = 8
_MAX_LABEL = 40  # characters


def short(text: str, most: int = _MAX_LABEL) -> str:
    """Return a text escaped, cut off where it is long."""
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def learning_curves(found: Mapping[str, Mapping[str, Curve]]) -> go.Figure | None:
    """Draw the curves of some runs, one kind of them at a time.

    Args:
        found: for each run, its curves by their names.
    """
    figure = go.Figure()
    names = [name for name in CURVES if any(name in curves for curves in found.values())]
    kinds: list[str] = []
    for number, (label, curves) in enumerate(found.items()):
        for name in names:
            if name in curves:
                epochs, values = zip(*curves[name], strict=True)
                kinds.append(name)
                figure.add_scatter(
                    x=epochs,
                    y=values,
                    name=short(label),
                    mode="lines+markers" if len(epochs) < 30 else "lines",
                    line={"color": _COLORS[number % len(_COLORS)], "width": 2},
                    visible=name == names[0],
                )
    if not kinds:
        return None
    buttons = [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": [kind == name for kind in kinds]}, _axis_of(name)],
        }
        for name in names
    ]
    _finish(figure, "epoch", names[0])
    figure.update_yaxes(tickformat=_axis_of(names[0])["yaxis.tickformat"])
    last = max(trace.x[-1] for trace in figure.data)
    figure.update_xaxes(tick0=1, dtick=max(1, math.ceil(last / 12)))
    figure.update_layout(
        margin_t=60,
        updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.2, "yanchor": "top"}],
    )
    return figure


def _axis_of(name: str) -> dict[str, Any]:
    return {"yaxis.title.text": name, "yaxis.tickformat": ".1%" if "acc" in name else ""}


def accuracy_against(board: Leaderboard, name: str, title: str) -> go.Figure | None:
    """Draw each row's accuracy on validation and test against another metric, on a log scale."""
    figure = go.Figure()
    for number, metric in enumerate(("val/acc", "test/acc")):
        rows = [
            row
            for row in board.rows
            if row.mean(name) > 0 and math.isfinite(row.mean(name) * row.mean(metric))
        ]
        if not rows:
            continue
        halves = [row.metrics[metric].half or 0 for row in rows]
        figure.add_scatter(
            x=[row.mean(name) for row in rows],
            y=[row.mean(metric) for row in rows],
            error_y={"array": halves, "thickness": 1, "width": 2} if any(halves) else None,
            mode="markers",
            name=metric,
            text=[f"{row.number}: {short(board.label(row), 80)}" for row in rows],
            hovertemplate="%{text}<br>%{y:.2%}, %{x:,.4~g}<extra></extra>",
            marker={"color": _COLORS[number], "size": 9, "symbol": ("circle", "diamond")[number]},
        )
    if not figure.data:
        return None
    _finish(figure, title, "accuracy")
    at = _log_ticks([x for trace in figure.data for x in trace.x])
    figure.update_xaxes(type="log", tickvals=at, ticktext=[_tick(one) for one in at])
    figure.update_yaxes(tickformat=".1%")
    return figure


def _tick(value: float) -> str:
    return f"{value:,.0f}" if 1 <= value < 1e9 else f"{value:g}"


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between values, and all digits of a narrow span."""
    low, high = min(values), max(values)
    digits = (1, 2, 5) if high / low > 5 else range(1, 10)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return [one for one in marks if low / 1.3 <= one <= high * 1.3]


def parallel_coordinates(board: Leaderboard) -> go.Figure | None:
    """Draw each run as a line through the values of what differs, coloured by its accuracy.

    They are lines of an ordinary chart: Plotly's own kind needs WebGL, which not every browser has.
    """
    runs = [run for row in board.rows for run in row.runs if _score(run) is not None][:_MAX_LINES]
    keys = [key for key in board.keys if len({shown(run.settings.get(key)) for run in runs}) > 1]
    if len(runs) < 2 or not keys:
        return None
    names = dict(zip(board.keys, board.headings, strict=True))
    scores = [float(_score(run) or 0) for run in runs]
    axes = [_Axis(names[key], [_value(run, key) for run in runs]) for key in keys[:_MAX_AXES]]
    axes.append(_Axis(SORTED_BY, scores, is_percent=True))
    figure = go.Figure()
    order = sorted(range(len(runs)), key=scores.__getitem__)
    steps = min(_STEPS, len(runs))
    colors = sample_colorscale(_COLD_TO_WARM, [one / max(1, steps - 1) for one in range(steps)])
    for step, color in enumerate(colors):
        members = order[step * len(runs) // steps : (step + 1) * len(runs) // steps]
        x: list[float | None] = []
        y: list[float | None] = []
        for member in members:  # a gap after each, so that all are one trace
            x += [*range(len(axes)), None]
            y += [*(axis.heights[member] for axis in axes), None]
        low, high = scores[members[0]], scores[members[-1]]
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": color, "width": 1 + step / steps},
            opacity=0.4 + 0.5 * (step + 1) / steps,
            name=f"{low:.2%} to {high:.2%}" if low < high else f"{low:.2%}",
            hoverinfo="skip",
        )
    for number, axis in enumerate(axes):
        figure.add_shape(type="line", x0=number, x1=number, y0=0, y1=1, line={"width": 1})
        for height, text in axis.ticks:
            figure.add_annotation(
                x=number,
                y=height,
                text=short(text, 14),
                showarrow=False,
                xanchor="right" if number == len(axes) - 1 else "left",
                xshift=-4 if number == len(axes) - 1 else 4,
                font={"size": 11},
            )
    _finish(figure, "", "")
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[short(axis.name, 18) for axis in axes],
        range=[-0.1, len(axes) - 0.9],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(visible=False, range=[-0.05, 1.05])
    return figure


def _value(run: Run, key: str) -> Any:
    value = run.settings.get(key)
    return str(value).rpartition(".")[2] if key.endswith("_target_") else value


def _score(run: Run) -> float | None:
    value = run.metrics.get(SORTED_BY, math.nan)
    return value if math.isfinite(value) else None


class _Axis:
    """One axis of parallel coordinates: where each value is on it, from 0 to 1, and its ticks.

    Args:
        name: what stands below it.
        values: of each line; numbers are spread by size, by their logarithm where they span much,
            anything else in steps.
        is_percent: whether they are shares.
    """

    def __init__(self, name: str, values: Sequence[Any], is_percent: bool = False) -> None:
        self.name = name
        numbers = [
            float(one)
            for one in values
            if isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
        ]
        if len(numbers) < len(values) or len(set(numbers)) < 2:
            known = sorted({shown(one) or "none" for one in values})
            at = {one: (number + 0.5) / len(known) for number, one in enumerate(known)}
            self.heights = [at[shown(one) or "none"] for one in values]
            every = math.ceil(len(known) / _MAX_TICKS)
            self.ticks = [(at[one], one) for one in known[::every]]
            return
        low, high = min(numbers), max(numbers)
        is_log = low > 0 and high / low >= 20
        place = math.log if is_log else float
        start, span = place(low), place(high) - place(low)
        self.heights = [(place(one) - start) / span for one in numbers]
        marks = sorted(set(numbers))
        if len(marks) > _MAX_TICKS:
            shares = [one / 4 for one in range(5)]
            marks = [start + span * one for one in shares]
            marks = [math.exp(one) for one in marks] if is_log else marks
        self.ticks = [
            ((place(one) - start) / span, f"{one:.2%}" if is_percent else f"{one:.3g}")
            for one in marks
        ]


def confusion_matrix(counts: Any, name: str) -> go.Figure:
    """Draw counts ``(C, C)``, rows are labels; colours follow roots: one mistake is seen."""
    total = counts.sum(dim=1, keepdim=True).clamp(min=1)
    share = (counts / total).sqrt().tolist()
    table = counts.tolist()
    classes = [str(one) for one in range(len(table))]
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
    _finish(figure, "predicted", "label")
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def _finish(figure: go.Figure, x: str, y: str) -> None:
    """Give a chart what all have in common: the page gives it its colours."""
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


def row_name(board: Leaderboard, row: Row) -> str:
    """Return a row's number and what tells it from the others."""
    return f"{row.number}: {board.label(row)}"
