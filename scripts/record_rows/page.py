"""The records in docs/records.md and README.md: tables, accuracy against parameters and seconds."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from record_rows.catalog import CHOSEN, RECORDS
from record_rows.measure import ROOT
from record_rows.table import accuracy_text, markdown

PAGE, README = ROOT / "docs" / "records.md", ROOT / "README.md"
PICTURE = ROOT / "docs" / "records.png"
START, END = "<!-- results: scripts/records --page -->", "<!-- end of results -->"
_SHORT = ("test accuracy, mean ± sd", "seeds", "published")
_MARKERS = dict(zip(CHOSEN, ("^", "x", "$?$"), strict=True))
_ALT = "Test error of each record against parameters and seconds, with published figures"


def results(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands between the page's two markers."""
    if not rows:
        return "No record has been measured yet."
    lines = [*markdown([dict(row) for row in rows]), "", f"![{_ALT}]({PICTURE.name})"]
    there = {row["name"] for row in rows}
    if missing := [
        f"`{name}` ({record.what})" for name, record in RECORDS.items() if name not in there
    ]:
        lines += ["", f"Not measured yet, though their recipes are there: {', '.join(missing)}."]
    return "\n".join(lines)


def in_short(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return README's table: the sets' own columns are on the records' page."""
    lines = [f"| | {' | '.join(_SHORT)} |", "|" + " --- |" * (1 + len(_SHORT))]
    for row in rows:
        if row["data"] == "mnist":
            anchor = row["anchor"]["figure"]
            published = "" if anchor is None else f"{anchor:g} %"
            cells = [row["what"], accuracy_text(row), str(row["n"]), published]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def blocks(rows: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Return what stands in each file from the one marker to the other."""
    made = {PAGE: results(rows), README: in_short(rows)}
    return {path: f"{START}\n{block}\n{END}" for path, block in made.items()}


def write_page(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write tables and picture."""
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    for path, block in blocks(rows).items():
        text = path.read_text(encoding="utf-8")
        if (found := pattern.search(text)) is None:
            raise SystemExit(f"{path}: no {START} in it")
        path.write_text(text[: found.start()] + block + text[found.end() :], encoding="utf-8")
    if rows:
        draw([row for row in rows if row["data"] == "mnist"])


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the test error of each record, its interval, and the published figure beside it."""
    figure = Figure(figsize=(11, 4.5), dpi=100, layout="constrained")
    for number, key in enumerate(("parameters", "seconds"), start=1):
        axes = figure.add_subplot(1, 2, number)
        for row in rows:
            _point(axes, row, key)
        axes.set(xscale="log", yscale="log", xlabel=key, ylabel="test error in %")
        axes.set_xlim(min(row[key] for row in rows) / 2, max(row[key] for row in rows) * 40)
        for axis, places in ((axes.xaxis, (1.0,)), (axes.yaxis, (1.0, 2.0, 5.0))):
            axis.set_major_locator(LogLocator(subs=places))
            axis.set_major_formatter(EngFormatter(sep="") if axis is axes.xaxis else "{x:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25)
    axes.plot([], [], "o", color="tab:blue", label="mean, sealed, 95 % interval")
    for chosen, marker in _MARKERS.items():
        axes.plot([], [], color="tab:orange", ls="", marker=marker, label=f"published: {chosen}")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    figure.savefig(PICTURE)


def _point(axes: Axes, row: Mapping[str, Any], key: str) -> None:
    error = 100 * (1 - row["mean"])
    low, high = row["interval"] or (row["mean"], row["mean"])
    half = 50 * (high - low)
    axes.errorbar(row[key], error, yerr=half or None, fmt="o", color="tab:blue", capsize=3)
    axes.annotate(
        f"{row['name'].removeprefix('record_')} (n={row['n']})",
        (row[key], error),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=8,
    )
    anchor = row["anchor"]
    if anchor and anchor["figure"] and key == "parameters":
        marker = _MARKERS[anchor["chosen"]]
        axes.plot(row[key], 100 - anchor["figure"], marker=marker, color="tab:orange", zorder=3)
