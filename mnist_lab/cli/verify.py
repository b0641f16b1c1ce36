"""``mnist-lab verify RUN``: runs a run again and says whether it gives the same."""

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mnist_lab.cli.arguments import Parser, only_targets
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config.saved import run_config
from mnist_lab.errors import InputError
from mnist_lab.runs import directory
from mnist_lab.runs.manifest import differences, is_finished, read_manifest


def main(arguments: list[str]) -> int:
    """Run a run again in a temporary folder; return 0 if it gives the same, else 1.

    Raises:
        LabError: something that the user can mend is wrong.
    """
    parser = Parser(
        "mnist-lab verify",
        description="Runs a finished run again, which takes as long as it took, and says whether "
        "its figures and weights are the same to the last bit.",
    )
    parser.add_argument("run", type=Path, help="the run's directory, which is only read")
    parser.add_argument("overrides", nargs="*", default=[], help="only allow_targets=[my_package.]")
    options = parser.parse_intermixed_args(arguments)
    allowed = only_targets(options.overrides)
    if not is_finished(options.run):
        directory.read_json(options.run / directory.MANIFEST)  # raises where there is no run at all
        raise InputError(f"{options.run}: is not finished; mnist-lab resume {options.run}")
    with tempfile.TemporaryDirectory(prefix="mnist_lab_verify_") as folder:
        again = Path(folder)
        config = run_config(options.run, allowed, place=again)
        _check_record(options.run)
        logging.basicConfig(format="%(message)s")
        with without_collector():
            from mnist_lab.training.run import train_in

        train_in(again, config)
        if not directory.is_rank_zero():
            return 0
        return _report(options.run, again, config)


def _check_record(run_dir: Path) -> None:
    """Check that there is something to compare with.

    Raises:
        InputError: the run's record lacks it.
    """
    hashes = read_manifest(run_dir).get("sha256") or {}
    for name in ("model", "last") if (run_dir / directory.LAST).exists() else ("model",):
        if name not in hashes:
            raise InputError(f"{run_dir / directory.MANIFEST}: sha256.{name}: must be there")
    directory.read_metrics(run_dir)


def _report(claimed: Path, again: Path, config: DictConfig) -> int:
    """Print what is the same and what is not; return 0 where all is."""
    records = [read_manifest(run_dir) for run_dir in (claimed, again)]
    figures = [
        {
            key: value
            for key, value in directory.finite(metrics).items()
            if not key.startswith("time/")
        }
        for metrics in map(directory.read_metrics, (claimed, again))
    ]
    different = _changed_since(claimed, records[0]) + _different("", *figures)
    for name in ("sha256", "data"):
        different += _different(f"{name} of ", *(record.get(name) or {} for record in records))
    for line in different:
        print(f"different: {line}", file=sys.stderr)
    for line in differences(*records):
        print(f"note: {line}", file=sys.stderr)
    count = len(figures[0])
    if different and config.trainer.get("max_time"):
        print(
            "note: trainer.max_time ends a run by the clock, and not twice alike", file=sys.stderr
        )
    if different:
        print(f"{claimed}: NOT reproduced")
        return 1
    hashes = ", ".join(f"{name} {text[:12]}" for name, text in records[0]["sha256"].items())
    print(f"{claimed}: reproduced: all {count} figures and the weights are the same ({hashes})")
    return 0


def _different(kind: str, there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{kind}{name}: {there.get(name)} in the run, {here.get(name)} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _changed_since(run_dir: Path, record: dict[str, Any]) -> list[str]:
    """Return which checkpoints of a run are not those that it wrote."""
    from mnist_lab.files.checkpoint import read_checkpoint, sha256_of

    changed = []
    for name, place in (("model", directory.BEST), ("last", directory.LAST)):
        path = run_dir / place
        if path.exists() and sha256_of(read_checkpoint(path)["state_dict"]) != record["sha256"].get(
            name
        ):
            changed.append(f"{path}: not the weights that the run recorded")
    return changed
