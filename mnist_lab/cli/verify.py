"""``mnist-lab verify``: runs a finished run again and compares the results."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say
from mnist_lab.config.overrides import typed_source
from mnist_lab.config.saved import run_config
from mnist_lab.errors import InputError
from mnist_lab.files.regular import check_links
from mnist_lab.runs import directory
from mnist_lab.runs.logs import log_messages
from mnist_lab.runs.manifest import TORCH_FUNC, differences, is_finished, read_manifest


def main(arguments: list[str]) -> int:
    """Run a run again in a temporary folder; return 0 if the results are the same, else 1."""
    parser = Parser(
        "mnist-lab verify",
        description="Runs a finished run again, which takes as long as it took, and says whether "
        "its figures and weights are the same to the last bit.",
    )
    parser.add_argument("run", type=Path, help="the run's directory, which is only read")
    options, allowed = parser.parse_with_targets(arguments, "init_from")
    check_links(options.run)
    if not is_finished(options.run):
        directory.check_is_run(options.run)
        directory.read_json(options.run / directory.MANIFEST)  # raises where there is no run at all
        raise InputError(f"{options.run}: is not finished; mnist-lab resume {options.run}")
    with tempfile.TemporaryDirectory(prefix="mnist_lab_verify_") as folder:
        again = Path(folder)
        config = run_config(options.run, allowed, again, typed_source(options.overrides))
        _check_record(options.run)
        if not any(name.startswith("test") for name in _figures(options.run)):  # a sealed trial
            config.trainer.limit_test_batches = 0
        log_messages()
        with without_collector():
            from mnist_lab.training.run import train_in

        train_in(again, config)
        if not directory.is_rank_zero():
            return 0
        return _report(options.run, again, config)


def _check_record(run_dir: Path) -> None:
    """Check that the run's manifest has the hashes to compare with."""
    hashes = read_manifest(run_dir).get("sha256") or {}
    for name in ("model", "last") if (run_dir / directory.LAST).exists() else ("model",):
        if name not in hashes:
            raise InputError(f"{run_dir / directory.MANIFEST}: sha256.{name}: must be there")
    directory.read_metrics(run_dir)


def _report(run_dir: Path, again: Path, config: DictConfig) -> int:
    """Print the results that differ; return 0 where none does."""
    manifests = [read_manifest(run_dir), read_manifest(again)]
    figures = [_figures(run_dir), _figures(again)]
    different = _changed_checkpoints(run_dir, manifests[0]) + _different("", *figures)
    for manifest in manifests:
        (manifest.get("init_from") or {}).pop("path", None)
    for key in ("sha256", "data", "init_from"):
        different += _different(f"{key} of ", *(manifest.get(key) or {} for manifest in manifests))
    notes = differences(*manifests)
    if different and config.trainer.get("max_time"):
        notes.append("trainer.max_time ends a run by the clock, which no run can repeat")
    if different and manifests[0].get("stack") == TORCH_FUNC:
        notes.append(
            "the run is a trial of a stack by torch.func: alone it is equal up to rounding"
        )
    notes += [
        f"the run went further at step {entry.get('step')}, with a schedule over its length, which "
        "no run from the start repeats"
        for entry in manifests[0].get("further", [])
        if different and not entry.get("is_exact")
    ]
    for line in [f"different: {line}" for line in different] + [f"note: {line}" for line in notes]:
        say(line, to_stderr=True)
    if different:
        say(f"{run_dir}: NOT reproduced")
        return 1
    hashes = ", ".join(f"{name} {text[:12]}" for name, text in manifests[0]["sha256"].items())
    count = len(figures[0])
    say(f"{run_dir}: reproduced: all {count} figures and the weights are the same ({hashes})")
    return 0


def _figures(run_dir: Path) -> dict[str, float | None]:
    """Return a run's metrics without its times."""
    metrics = directory.finite(directory.read_metrics(run_dir))
    return {key: value for key, value in metrics.items() if not key.startswith("time/")}


def _different(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{kind}{name}: {before.get(name)} in the run, {now.get(name)} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _changed_checkpoints(run_dir: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for each checkpoint whose weights are not those that the run wrote."""
    from mnist_lab.files.checkpoint import read_checkpoint, sha256_of

    changed = []
    for name, place in (("model", directory.BEST), ("last", directory.LAST)):
        path = run_dir / place
        if path.exists():
            digest = sha256_of(read_checkpoint(path)["state_dict"])
            if digest != manifest["sha256"].get(name):
                changed.append(f"{path}: not the weights that the run recorded")
    return changed
