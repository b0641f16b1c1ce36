"""Trains every recipe over several seeds and writes the table of results in docs/recipes.md.

Each run is the shipped command in a process of its own, so that a row can be had again by hand.
Finished runs under outputs/reproduce are kept and not trained again.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "outputs" / "reproduce"
PAGE = ROOT / "docs" / "recipes.md"
START, END = "<!-- results: scripts/reproduce -->", "<!-- end of results -->"
# Test accuracy in per cent that the recipe's source reports.
PUBLISHED = {"keras_dense": 92.41, "keras_hidden_100": 97.59, "tf_deep_1000": 92.06}


def main() -> int:
    """Train what is missing, print the table and put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help="which ones; all if none is named")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N-1 of each")
    options = parser.parse_args()
    recipes = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
    known = [name for name in recipes if not name.startswith(("record_", "speedrun"))]
    if unknown := set(options.recipes) - set(known):
        parser.error(f"no such recipe: {', '.join(unknown)}; there are {', '.join(known)}")
    lines = [
        f"| recipe | published | ours, mean ± std of {options.seeds} seeds |",
        "| --- | --- | --- |",
    ]
    for recipe in options.recipes or known:
        runs = [run(recipe, seed) for seed in range(options.seeds)]
        accuracies = [100 * metrics["test/acc"] for metrics in runs]
        spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
        published = f"{PUBLISHED[recipe]:.2f} %" if recipe in PUBLISHED else ""
        lines.append(
            f"| `{recipe}` | {published} | {statistics.mean(accuracies):.2f} ± {spread:.2f} % |"
        )
    table = "\n".join(lines)
    print(table)
    if not options.recipes:
        write_page(table)
    return 0


def run(recipe: str, seed: int) -> dict[str, float]:
    """Return a finished run's metrics, training it first where it is not there."""
    run_dir = RUNS / recipe / str(seed)
    metrics = run_dir / "metrics.json"
    if not metrics.exists():
        arguments = [f"experiment={recipe}", f"seed={seed}", f"hydra.run.dir={run_dir}"]
        print(f"mnist-lab train {' '.join(arguments)}", file=sys.stderr)
        shutil.rmtree(run_dir, ignore_errors=True)  # what an interrupted run left
        command = [sys.executable, "-m", "mnist_lab", "train", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    found: dict[str, float] = json.loads(metrics.read_text())
    return found


def write_page(table: str) -> None:
    """Replace the table between the page's two markers."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{PAGE}: no {START} in it")
    text = pattern.sub(lambda _: f"{START}\n{table}\n{END}", text)
    temporary = PAGE.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, PAGE)


if __name__ == "__main__":
    sys.exit(main())
