"""Figures as tables, for a terminal and for a Markdown file."""

import statistics
from typing import Any

from benchmark_rows.catalog import Table
from benchmark_rows.machine import lines


def summarise(table: Table, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a table's figures: raw, and their median, range and ratio to the first row.

    Args:
        table: what was measured.
        runs: what each row's runs returned; rows that were not selected are missing.
    """
    rows: list[dict[str, Any]] = []
    for row in table.rows:
        if row.name not in runs:
            continue
        figures = [run["figure"] for run in runs[row.name] if "figure" in run]
        entry: dict[str, Any] = {"name": row.name, "title": row.title, "runs": runs[row.name]}
        for text in ("skipped", "failed", "note"):
            entry[text] = next((run[text] for run in runs[row.name] if run.get(text)), None)
        if figures:
            entry |= {
                "figures": figures,
                "median": statistics.median(figures),
                "min": min(figures),
                "max": max(figures),
            }
        rows.append(entry)
    base = rows[0].get("median") if rows else None
    for entry in rows:
        if base and "median" in entry:
            entry["ratio"] = entry["median"] / base
    return {"name": table.name, "title": table.title, "unit": table.unit, "rows": rows}


def cells(table: Table, summary: dict[str, Any]) -> list[list[str]]:
    """Return the heading and a line for each row, as texts."""
    several = any(len(row.get("figures", ())) > 1 for row in summary["rows"])
    heading = ["", table.unit, "ratio"]
    heading += ["min-max"] if several else []
    heading += ["difference"] if table.difference else []
    heading += [title for _, title, _ in table.extras]
    lines_ = [[*heading, ""]]
    base = summary["rows"][0].get("median") if summary["rows"] else None
    for row in summary["rows"]:
        if "median" not in row:
            reason = f"skipped: {row['skipped']}" if row["skipped"] else f"FAILED: {row['failed']}"
            lines_.append([row["title"], *[""] * (len(heading) - 1), reason])
            continue
        line = [row["title"], table.form.format(row["median"])]
        line.append(f"{row['ratio']:.2f}" if "ratio" in row else "")
        if several:
            line.append("-".join(table.form.format(row[end]) for end in ("min", "max")))
        if table.difference:
            line.append("" if base is None else table.form.format(row["median"] - base))
        for key, _, form in table.extras:
            line.append(form.format(statistics.mean(run[key] for run in _done(row))))
        lines_.append([*line, _remark(row)])
    if not any(line[-1] for line in lines_):
        lines_ = [line[:-1] for line in lines_]
    return lines_


def _done(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in row["runs"] if "figure" in run]


def _remark(row: dict[str, Any]) -> str:
    """Return what must be known to read a figure, such as that it was scaled up."""
    scale = max(run.get("scaled_by", 1.0) for run in _done(row))
    scaled = f"scaled up from 1/{scale:.3g} of the batches" if scale > 1 else ""
    failed = f"FAILED: {row['failed']}" if row["failed"] else ""
    return "; ".join(filter(None, (failed, row["note"], scaled)))


def as_text(table: Table, summary: dict[str, Any]) -> str:
    """Return a table for a terminal."""
    rows = cells(table, summary)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [f"{table.name}: {table.title}"]
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        numbers[0] = "  " + row[0].ljust(widths[0])
        if not rows[0][-1]:  # the remarks
            numbers[-1] = row[-1]
        text.append("  ".join(numbers).rstrip())
    return "\n".join(text)


def as_markdown(
    machine: dict[str, Any], tables: list[tuple[Table, dict[str, Any]]], command: str
) -> str:
    """Return a report: how to repeat it, on what it was measured, and the tables.

    Args:
        machine: what ``machine.describe`` returned.
        tables: what was measured.
        command: the one that measured it.
    """
    text = [
        f"# Benchmark, {machine['date']}",
        "",
        f"Made by `{command}`.",
        "Figures are medians; each run is a process of its own, and a table's rows take turns.",
        "A ratio is to the first row of its table.",
        "",
        *(f"- {line}" for line in lines(machine) if not line.startswith("date")),
    ]
    for table, summary in tables:
        heading, *rows = cells(table, summary)
        text += ["", f"## {table.name}: {table.title}", "", _line(heading)]
        text += [_line(["---", *["---:"] * (len(heading) - 1)]), *map(_line, rows)]
    return "\n".join(text) + "\n"


def _line(row: list[str]) -> str:
    return "| " + " | ".join(row) + " |"
