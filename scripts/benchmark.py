"""Measures the lab beside a raw loop, bare Lightning, the usual way and Keras, on real MNIST.

    python scripts/benchmark.py                          # everything, about an hour on two cores
    python scripts/benchmark.py --quick step data        # two groups, fewer epochs
    python scripts/benchmark.py step/cnn/raw step/cnn/lab --repeats 5
    python scripts/benchmark.py --json all.json --report benchmarks/this-machine.md

Every run of a row is a process of its own, so that rows share neither threads nor allocators; the
rows of a table take turns (A B C A B C), so that a machine that slows down slows them all; the
median counts. Runs have a terminal for their output, as a user's have, and draw their progress bars
on it. Works on Linux and macOS. Exit codes: 0 done, 1 a row failed, 2 wrong usage.
"""

import argparse
import fcntl
import importlib
import json
import os
import pty
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark_rows import machine, report
from benchmark_rows.catalog import GROUPS, SIZES, TABLES, Job, Row, Size, Table

_TERMINAL = struct.pack("HHHH", 30, 120, 0, 0)  # lines, columns, and two that nothing reads
_TAIL = 4_000  # bytes of a run's output that are kept for an error


def main(arguments: list[str]) -> int:
    """Run what the command line asks for and return the exit code."""
    options = _parser().parse_args(arguments)
    size = SIZES["tiny" if options.tiny else "quick" if options.quick else "full"]
    if options.repeats:
        size = replace(size, repeats=options.repeats)
    if options.row:
        return _run_row(options, size)
    selected = _select(options.rows or list(GROUPS))
    facts = _prepare()
    description = machine.describe(facts)
    print("\n".join(machine.lines(description)), flush=True)
    results: list[tuple[Table, dict[str, Any]]] = []
    for table, rows in selected:
        summary = report.summarise(table, _measure(table, rows, size, options, facts["root"]))
        results.append((table, summary))
        print(f"\n{report.as_text(table, summary)}", flush=True)
        _write(options, size, description, results)
    failed = any(row["failed"] for _, summary in results for row in summary["rows"])
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/benchmark.py",
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=f"groups: {' '.join(GROUPS)}; tables: {' '.join(table.name for table in TABLES)}",
    )
    parser.add_argument(
        "rows", nargs="*", help="groups, tables (step/cnn) or rows (step/cnn/raw); default all"
    )
    parser.add_argument("--quick", action="store_true", help="fewer epochs and repeats")
    parser.add_argument("--repeats", type=_positive, help="runs of each row (accuracy has seeds)")
    parser.add_argument("--json", type=Path, help="write all raw figures to this file")
    parser.add_argument("--report", type=Path, help="write a Markdown report to this file")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for tests
    for name, kind in (("row", str), ("repeat", int), ("root", Path), ("out", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)  # of a row's process
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _select(names: list[str]) -> list[tuple[Table, list[Row]]]:
    """Return the tables that are named, or whose group or rows are, with their rows."""
    selected, unused = [], set(names)
    for table in TABLES:
        rows = []
        for row in table.rows:
            full = f"{table.name}/{row.name}"
            matching = [name for name in names if f"{full}/".startswith(f"{name.rstrip('/')}/")]
            unused -= set(matching)
            if matching:
                rows.append(row)
        if rows:
            selected.append((table, rows))
    if unused:
        print(
            f"benchmark.py: {', '.join(sorted(unused))}: no such group, table or row; groups are "
            f"{', '.join(GROUPS)}",
            file=sys.stderr,
        )
        raise SystemExit(2)
    return selected


def _prepare() -> dict[str, Any]:
    """Have the data unpacked, and learn what only torch knows, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "facts.json")
        code, output = _on_terminal([sys.executable, __file__, "--row=prepare", f"--out={out}"])
        if code:
            print(output, file=sys.stderr)
            raise SystemExit(1)
        facts: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return facts


def _measure(
    table: Table, rows: list[Row], size: Size, options: argparse.Namespace, root: str
) -> dict[str, list[dict[str, Any]]]:
    """Run a table's rows in turns and return what each run of each row returned."""
    runs: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    for repeat in range(size.seeds if table.seeds else size.repeats):
        for row in rows:
            if any("skipped" in run for run in runs[row.name]):
                continue
            name = f"{table.name}/{row.name}"
            result = _in_process(name, repeat, options, root)
            runs[row.name].append(result)
            shown = result.get("skipped") or result.get("failed") or ""
            if "figure" in result:
                shown = f"{table.form.format(result['figure'])} {table.unit} {shown}"
            print(f"  {name} {repeat + 1}: {shown}", file=sys.stderr, flush=True)
            if "output" in result:
                print(result["output"], file=sys.stderr, flush=True)
    return runs


def _in_process(name: str, repeat: int, options: argparse.Namespace, root: str) -> dict[str, Any]:
    """Run a row once in a new process and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures.json")
        command = [sys.executable, __file__, f"--row={name}", f"--repeat={repeat}"]
        command += [f"--root={root}", f"--out={out}"]
        command += [f"--{size}" for size in ("quick", "tiny") if getattr(options, size)]
        code, output = _on_terminal(command)
        if code or not out.exists():
            return {"failed": f"ended with {code}", "output": output}
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def _on_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command with a terminal for its output; return the exit code and the output's end."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, _TERMINAL)
    streams = {"stdin": subprocess.DEVNULL, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen(command, **streams)  # type: ignore[call-overload]
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(reader, 65_536):
            output = (output + chunk)[-_TAIL:]
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    finally:
        os.close(reader)
    return process.wait(), output.decode("utf-8", "replace")


def _run_row(options: argparse.Namespace, size: Size) -> int:
    """Be the process of one row: run it and leave its figures in a file."""
    if options.row == "prepare":
        machine.prepare(options.out)
        return 0
    _, (row,) = _select([options.row])[0]
    module, _, function = row.function.partition(".")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(size, options.repeat, options.root, Path(folder))
        try:
            rows = importlib.import_module(f"benchmark_rows.{module}")
            figures = getattr(rows, function)(job, **row.arguments)
        except Exception:
            traceback.print_exc()
            return 1
    options.out.write_text(json.dumps(figures), encoding="utf-8")
    return 0


def _write(
    options: argparse.Namespace,
    size: Size,
    description: dict[str, Any],
    results: list[tuple[Table, dict[str, Any]]],
) -> None:
    """Write what has been measured so far, so that a stop in between loses little."""
    flags = [f"--{name}" for name in ("quick", "tiny") if getattr(options, name)]
    flags += [f"--repeats={options.repeats}"] if options.repeats else []
    command = shlex.join(["python", "scripts/benchmark.py", *options.rows, *flags])
    if options.json:
        content = {
            "command": command,
            "machine": description,
            "size": vars(size),
            "tables": [summary for _, summary in results],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.report:
        text = report.as_markdown(description, results, command)
        options.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
