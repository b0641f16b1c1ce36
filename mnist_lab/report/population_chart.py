"""Chart of a population: which trial copied which, and where the weights of the best come from."""

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from mnist_lab.report.charts import finish
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.read_runs import Entry, Phase

_GREY, _DARK, _BLUE = "rgba(128,128,128,0.5)", "rgba(128,128,128,1)", "#1f77b4"


def lineage(board: Leaderboard) -> go.Figure | None:
    """Draw the trials of the best population over its epochs; None where there is none."""
    best_first = [run for row in board.rows for run in row.runs]
    sweep = next((run.path.parent for run in best_first if run.lineage), None)
    if sweep is None:
        return None
    runs = [run for run in best_first if run.path.parent == sweep]
    end = max(_epochs(run) for run in runs)
    pairs = {pair for run in runs for pair in pairwise(run.lineage)}
    copies = sorted({(after.epoch, before.trial, after.trial) for before, after in pairs})
    trials = sorted({trial for copy in copies for trial in copy[1:]})
    figure = go.Figure()
    for trial in trials:
        figure.add_scatter(
            x=[0, end],
            y=[trial, trial],
            mode="lines",
            line={"color": _GREY, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    for epoch, source, copied in copies:
        figure.add_annotation(
            **{"x": epoch, "y": copied, "ax": epoch, "ay": source},
            **{"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": ""},
            **{"showarrow": True, "arrowhead": 2, "arrowwidth": 1.5, "arrowcolor": _DARK},
        )
    phases = _own(runs[0])
    ends = [*(phase.epoch for phase in phases[1:]), end][: len(phases)]
    figure.add_scatter(
        x=[x for phase, until in zip(phases, ends, strict=True) for x in (phase.epoch, until)],
        y=[phase.trial for phase in phases for _ in range(2)],
        mode="lines",
        line={"color": _BLUE, "width": 4},
        hovertemplate="trial %{y} from epoch %{x}<extra></extra>",
        showlegend=False,
    )
    finish(figure, "epoch", "trial")
    figure.update_yaxes(tickformat="d")
    return figure


def _own(run: Entry) -> Sequence[Phase]:
    """Return a run's phases; one that has copied nobody is named by its directory."""
    name = run.path.name
    return run.lineage or ([Phase(0, int(name))] if name.isdecimal() else [])


def _epochs(run: Entry) -> int:
    epochs = run.settings.get("trainer.max_epochs")
    last = run.lineage[-1].epoch + 1 if run.lineage else 1
    return max(epochs, last) if type(epochs) is int else last
