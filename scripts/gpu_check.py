"""Checks and measures the lab on a GPU: scripts/gpu_check [PART...].

Needs the checkout and the packages of pyproject.toml, and says which are missing. Writes
``benchmarks/gpu-<card>-<date>.json`` after each part, and ``.md`` beside it. Stopped, it resumes
with the parts that are not in the file yet; a part that is named is done again. Ten minutes in all.
Exit codes: 0 done, 1 a part failed, 2 wrong usage, a missing package or no GPU.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    """Do the parts that are missing or named, and return the exit code."""
    from gpu_rows.parts import PARTS, Place

    parser = argparse.ArgumentParser("scripts/gpu_check", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {' '.join(PARTS)}; default: what is missing")
    parser.add_argument("--cpu", action="store_true", help="a small form on the CPU, for the tests")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks", help="for the report")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"{', '.join(unknown)}: must be of {', '.join(PARTS)}")
    if missing := missing_packages():
        print(f"gpu_check: missing packages: {'; '.join(missing)}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    facts = describe()
    if not (facts["gpu"] or options.cpu):
        line = "torch sees no GPU on this machine; --cpu does a small form of each part"
        print(f"gpu_check: {line}", file=sys.stderr)
        return 2
    card = "cpu" if options.cpu else re.sub(r"[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    path = options.folder / f"gpu-{card}-{datetime.now(UTC):%Y-%m-%d}.json"
    report = json.loads(path.read_text("utf-8")) if path.exists() else {"parts": {}}
    report["machine"] = facts
    done = [name for name, part in report["parts"].items() if not part["failed"]]
    for name in options.parts or [name for name in PARTS if name not in done]:
        with tempfile.TemporaryDirectory(prefix="mnist_lab_gpu_") as temporary:
            place = Place(Path(temporary), options.cpu)
            report["parts"][name] = part = measured(PARTS[name], place)
        print(f"{name}: {part['failed'] or 'done'} ({part['seconds']} s)", flush=True)
        write(path, json.dumps(report, indent=1) + "\n")
        write(path.with_suffix(".md"), as_markdown(report, list(PARTS)))
    print(path.with_suffix(".md"))
    return int(any(part["failed"] for part in report["parts"].values()))


def measured(part: Any, place: Any) -> dict[str, Any]:
    """Do a part; what it finds, or how it failed, and how long it took."""
    start = time.monotonic()
    rows: list[dict[str, Any]] = []
    failed = None
    try:
        for row in part(place):
            rows.append(row)
            print(f"  {row['name']}: {row['figure']}", flush=True)
    except Exception as error:  # the other parts are done
        failed = f"{type(error).__name__}: {error}".replace(str(ROOT), ".")[:2000]
    failed = failed or "; ".join(row["name"] for row in rows if row.get("wrong")) or None
    title = (part.__doc__ or "").splitlines()[0].rstrip(".")
    seconds = round(time.monotonic() - start)
    return {"title": title, "rows": rows, "failed": failed, "seconds": seconds}


def missing_packages() -> list[str]:
    """Return the requirements of pyproject.toml that are not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    missing = []
    for text in project["dependencies"]:
        try:
            version(re.split("[<>=~! ]", text)[0])
        except PackageNotFoundError:
            missing.append(text)
    return missing


def describe() -> dict[str, Any]:
    """Return the machine and the versions; torch is asked in another process."""
    from benchmark_rows import machine
    from gpu_rows.parts import python

    with tempfile.TemporaryDirectory() as temporary:
        facts = Path(temporary) / "facts.json"
        lines = "import sys; from pathlib import Path; from benchmark_rows.machine import prepare; "
        lines += "prepare(Path(sys.argv[1]))"
        path = os.pathsep.join([str(ROOT / "scripts"), os.environ["PYTHONPATH"]])
        python(Path(temporary), "-c", lines, str(facts), PYTHONPATH=path)
        return machine.describe(json.loads(facts.read_text("utf-8")))


def as_markdown(report: dict[str, Any], order: list[str]) -> str:
    """Return the report for readers."""
    from benchmark_rows import machine

    lines = ["# GPU check", "", "`scripts/gpu_check`", ""]
    lines += [f"- {line}" for line in machine.lines(report["machine"])]
    for name in order:
        if part := report["parts"].get(name):
            lines += ["", f"## {name}: {part['title']}", ""]
            if part["failed"]:
                lines += [f"**Failed:** {part['failed'].splitlines()[0]}", ""]
            lines += ["| | | |", "| --- | --- | --- |"]
            for row in part["rows"]:
                lines.append(f"| {row['name']} | {row['figure']} | {row.get('note', '')} |")
            lines += ["", f"{part['seconds']} s"]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
