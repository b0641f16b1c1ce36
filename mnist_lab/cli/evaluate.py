"""``mnist-lab evaluate``: evaluates a run's best checkpoint again, from its directory alone."""

import argparse
import json
from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.runs.pack import directory_of
from mnist_lab.config.saved import stored_config
from mnist_lab.runs.directory import finite, is_rank_zero


def main(arguments: list[str]) -> int:
    """Evaluate a run and print its metrics."""
    parser = Parser(
        "mnist-lab evaluate",
        description="Evaluates a run's best checkpoint again, from its directory alone.",
    )
    parser.add_argument("run", type=Path, help="the run's directory, or its archive")
    parser.add_argument(
        "overrides", nargs="*", default=[], help="other data or trainer: data=fashion_mnist"
    )
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    options = parser.parse_intermixed_args(arguments)
    with directory_of(options.run) as run_dir:
        return _evaluate(options, run_dir)


def _evaluate(options: argparse.Namespace, run_dir: Path) -> int:
    is_printing = is_rank_zero()  # asked here, as Lightning drops WORLD_SIZE in the end

    stored_config(run_dir, options.overrides)  # finds errors before the slow imports
    with without_collector():
        from mnist_lab.inference.evaluate import evaluate_run

    metrics = evaluate_run(run_dir, options.overrides)
    if is_printing:
        if options.json:
            print(json.dumps(finite(dict(sorted(metrics.items()))), indent=2))
        else:
            from mnist_lab.cli.terminal import Terminal
            from mnist_lab.inference.evaluate import class_names_in
            from mnist_lab.runs.summary import metrics_table

            is_its_data = not any(text.startswith("data") for text in options.overrides)
            names = class_names_in(run_dir) if is_its_data else ()
            Terminal().print(metrics_table(str(options.run), metrics, names))
    return 0
