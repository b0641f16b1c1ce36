"""``mnist-lab evaluate``: evaluates runs' best checkpoints again, from their directories alone."""

import argparse
import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.runs.archive import directory_of
from mnist_lab.cli.terminal import say, say_table
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import ConfigError, printable
from mnist_lab.runs.directory import finite, is_rank_zero
from mnist_lab.runs.manifest import is_sealed
from mnist_lab.runs.summary import added_metrics, metric_text, metrics_table

log = logging.getLogger(__name__)
_COLUMNS = ("val/acc", "val/loss", "test/acc", "test/loss")


def main(arguments: list[str]) -> int:
    """Evaluate runs and print their metrics."""
    parser = Parser(
        "mnist-lab evaluate",
        description="Evaluates runs' best checkpoints again, from their directories alone.",
    )
    parser.add_argument("run", help="a run's directory, or its archive")
    parser.add_argument(
        "more",
        nargs="*",
        default=[],
        help="further runs; and other data or trainer: data=fashion_mnist",
    )
    text = "also evaluate the runs as one model: the mean of their probabilities"
    parser.add_argument("--ensemble", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    options = parser.parse_intermixed_args(arguments)
    if _is_override(options.run):
        raise ConfigError(f"{options.run}: must be a run's directory, whose best checkpoint it is")
    overrides = [word for word in options.more if _is_override(word)]
    places = [Path(options.run), *(Path(word) for word in options.more if word not in overrides)]
    _check_once(places)
    with contextlib.ExitStack() as stack:
        run_dirs = [stack.enter_context(directory_of(place)) for place in places]
        return _evaluate(options, places, run_dirs, overrides)


def _evaluate(
    options: argparse.Namespace,
    places: Sequence[Path],
    run_dirs: Sequence[Path],
    overrides: list[str],
) -> int:
    is_printing = is_rank_zero()  # asked here, as Lightning drops WORLD_SIZE in the end
    # Finds errors before the slow imports.
    configs = [stored_config(run, overrides) for run in run_dirs]
    for place, run_dir, config in zip(places, run_dirs, configs, strict=True):
        if place != run_dir and is_sealed(config):
            log.warning(
                "%s: is an archive, in which no reading of the test images is counted", place
            )
    with without_collector():
        from mnist_lab.inference.ensemble import check_members, evaluate_ensemble
        from mnist_lab.inference.evaluate import evaluate_run

    together: dict[str, float] | None = None
    if options.ensemble:
        check_members(run_dirs, configs)
        results, together = evaluate_ensemble(run_dirs, overrides)
    else:
        results = [evaluate_run(run, overrides) for run in run_dirs]
    if not is_printing:
        return 0
    if options.json:
        _print_json(places, results, together)
    elif len(places) == 1:
        _print_run(places[0], run_dirs[0], results[0], overrides)
    else:
        _print_rows(places, results, together)
    return 0


def _is_override(word: str) -> bool:
    """Return whether a word is no run's directory, whose name may have an equals sign."""
    return word.startswith("~") or ("=" in word and not os.path.isdir(word))


def _check_once(runs: Sequence[Path]) -> None:
    places = list(map(os.path.realpath, runs))  # takes links in a circle, as resolve does not
    for number, run in enumerate(runs):
        if places[number] in places[:number]:
            raise ConfigError(f"{run}: must be named once")


def _print_json(
    runs: Sequence[Path],
    results: Sequence[Mapping[str, float]],
    together: Mapping[str, float] | None,
) -> None:
    """Print the metrics of one run by themselves, those of several by the runs' directories."""
    plain = [finite(dict(sorted(metrics.items()))) for metrics in results]
    content: dict[str, Any] = {"runs": dict(zip(map(str, runs), plain, strict=True))}
    if together is not None:
        content["ensemble"] = finite(together)
    print(json.dumps(content if len(runs) > 1 else plain[0], indent=2))


def _print_run(
    place: Path, run_dir: Path, metrics: Mapping[str, float], overrides: Sequence[str]
) -> None:
    from mnist_lab.inference.evaluate import class_names_in

    if not metrics:
        say(
            f"{place}: nothing to evaluate: a data module's val_dataloader with the model's "
            "validation_step, or test_dataloader with test_step, is required"
        )
        return
    is_its_data = not any(text.startswith("data") for text in overrides)
    names = class_names_in(run_dir) if is_its_data else ()
    headings, *rows = metrics_table(metrics, names)
    say(str(place))
    say_table(headings, rows, headings[1:])


def _print_rows(
    runs: Sequence[Path],
    results: Sequence[Mapping[str, float]],
    together: Mapping[str, float] | None,
) -> None:
    rows = [(printable(str(run)), metrics) for run, metrics in zip(runs, results, strict=True)]
    if together is not None:
        rows.append((f"ensemble of {len(runs)}", together))
    names = [name for name in _COLUMNS if any(name in metrics for _, metrics in rows)]
    ends = added_metrics(name for _, metrics in rows for name in metrics)
    added = [f"{split}/{end}" for end in ends for split in ("val", "test")]
    names += [name for name in added if any(name in metrics for _, metrics in rows)]
    own = (
        name for _, metrics in rows for name in metrics if not name.startswith(("val/", "test/"))
    )
    names += dict.fromkeys(own)  # as val_loss, of a LightningModule of one's own
    cells = [
        [name, *(metric_text(column, metrics.get(column)) or "-" for column in names)]
        for name, metrics in rows
    ]
    say_table(["run", *names], cells, names)
