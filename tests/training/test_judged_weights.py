"""The weights that are kept, tested and evaluated are those that a validation judged."""

import csv
import faulthandler
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from door import call
from killed import killed_at
from lightning.pytorch import callbacks

from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.inference.evaluate import evaluate_run
from mnist_lab.runs.directory import BEST, LAST

SHORT = (
    "model=mlp model.hidden_dims=[8] trainer=cpu trainer.max_epochs=2 scheduler=none "
    "trainer.limit_train_batches=20 logger=none ~callbacks.pictures ~callbacks.progress "
    "trainer.enable_model_summary=false hydra.run.dir=run"
)
_LIGHTNINGS = "+callbacks.x._target_=lightning.pytorch.callbacks."
_OWN = "allow_targets=[own_callbacks.] +callbacks.x._target_=own_callbacks."
AVERAGES = {
    "mean from the first epoch": f"{_LIGHTNINGS}StochasticWeightAveraging "
    "+callbacks.x.swa_lrs=0.05 +callbacks.x.swa_epoch_start=1",
    "mean with batch norm": "callbacks=swa callbacks.swa.swa_epoch_start=2 model.batch_norm=true "
    "scheduler=one_cycle",
    "moving average": f"{_LIGHTNINGS}EMAWeightAveraging +callbacks.x.decay=0.9",
    "moving average after an epoch": f"{_LIGHTNINGS}EMAWeightAveraging "
    "+callbacks.x.update_starting_at_epoch=0 +callbacks.x.update_every_n_steps=0",
    "moving average in double": "callbacks=ema trainer.precision=64-true",
    "average of all": f"{_LIGHTNINGS}WeightAveraging",
    "swapped for validation alone": f"{_OWN}Swapped",
    "swapped in the second epoch": f"{_OWN}SwappedOnce",
    "zeros at the end": f"{_OWN}ZeroAtTheEnd",
    "zeros for the test": f"{_OWN}ZeroForTheTest",
}
NOT_SLOW = {"mean with batch norm", "moving average in double"}
PLAIN = {
    "EarlyStopping": "+callbacks.x.monitor=val/acc",
    "GradientAccumulationScheduler": "+callbacks.x.scheduling={1:2}",
    "LambdaCallback": "",
    "LearningRateMonitor": "logger=csv",
    "ModelCheckpoint": "+callbacks.x.save_last=true",
    "ModelSummary": "",
    "RichModelSummary": "",
    "RichProgressBar": "",
    "SpikeDetection": "",
    "Timer": "",
    "TQDMProgressBar": "",
    "Callback": "",
    "BasePredictionWriter": "",
}
REFUSED = {
    "BackboneFinetuning": "'MLP' object has no attribute 'backbone'",
    "BatchSizeFinder": "callbacks: BatchSizeFinder changes a setting of which config.yaml says",
    "LearningRateFinder": "callbacks: LearningRateFinder changes a setting of which config.yaml",
    "ModelPruning": "callbacks: ModelPruning gives weights other names",
    "ThroughputMonitor": "missing 1 required positional argument: 'batch_size_fn'",
    "BaseFinetuning": "",
}
_ARGUMENTS = {"ModelPruning": "+callbacks.x.pruning_fn=l1_unstructured"}


def figures(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: metrics[name] for name in metrics if name.startswith(("val/", "test/"))}


def check(options: str, folder: Path) -> Path:
    """Train, and check that all that is said of the best weights is true of them."""
    done = call(f"train {SHORT} {options}", folder)
    assert done.returncode == 0, done.stderr
    run_dir = folder / "run"
    metrics = json.loads((run_dir / "metrics.json").read_text())
    best = read_checkpoint(run_dir / BEST)
    (score,) = [state["best_score"] for state in best["callbacks"].values() if "best_step" in state]
    assert metrics["val/acc"] == pytest.approx(score, abs=1e-7)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["sha256"]["model"] == sha256_of(best["state_dict"])
    assert manifest["sha256"]["last"] == sha256_of(read_checkpoint(run_dir / LAST)["state_dict"])
    assert "judged_state_dict" not in best
    opened = "allow_targets=[lightning.,own_callbacks.]"
    assert call(f"verify run {opened}", folder).returncode == 0
    assert figures(evaluate_run(run_dir, overrides=[opened])) == figures(metrics)
    return run_dir


def _case(name: str, quick: Any) -> Any:
    return pytest.param(name, marks=() if name in quick else pytest.mark.slow)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [_case(name, NOT_SLOW) for name in AVERAGES])
def test_averaged_and_swapped_weights_are_judged_as_they_are_kept(
    name: str, tmp_path: Path
) -> None:
    check(AVERAGES[name], tmp_path)


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches")
@pytest.mark.parametrize("name", [_case(name, {"Callback"}) for name in PLAIN])
def test_every_other_callback_changes_no_figure(name: str, tmp_path: Path) -> None:
    check(f"{_LIGHTNINGS}{name} {PLAIN[name]}", tmp_path)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_cannot_work_is_one_line(name: str, tmp_path: Path) -> None:
    done = call(f"train {SHORT} {_LIGHTNINGS}{name} {_ARGUMENTS.get(name, '')}", tmp_path)
    assert done.returncode == 2, done.stderr
    assert REFUSED[name] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_every_callback_of_lightning_is_tried() -> None:
    averages = {"EMAWeightAveraging", "StochasticWeightAveraging", "WeightAveraging"}
    needs_more = {"Checkpoint", "DeviceStatsMonitor", "OnExceptionCheckpoint", "ProgressBar"}
    assert {*PLAIN, *REFUSED, *averages, *needs_more} == set(callbacks.__all__)


def test_weights_that_the_end_of_training_brings_may_be_the_best(tmp_path: Path) -> None:
    run_dir = check(f"{_OWN}BetterAtTheEnd optimizer.lr=1e-9", tmp_path)
    best, last = (read_checkpoint(run_dir / path) for path in (BEST, LAST))
    assert best["global_step"] == 40
    assert sha256_of(best["state_dict"]) == sha256_of(last["state_dict"])
    assert json.loads((run_dir / "metrics.json").read_text())["val/acc"] > 0.3


@pytest.mark.slow
def test_a_moving_average_of_the_default_cnn_is_no_worse_over_five_seeds(tmp_path: Path) -> None:
    """Judge by the validation, which a decay is chosen by, and not by the test.

    A seed has the same weights with and without the average, so that differences are paired; their
    mean may be below 0 by its standard error, which is what a mean of nothing would be.
    """
    faulthandler.cancel_dump_traceback_later()  # ten runs take longer than other tests may
    command = "train -m model=cnn callbacks=default,ema seed=range(5) logger=none"
    assert call(f"{command} hydra.sweep.dir=sweep", tmp_path).returncode == 0
    trials = json.loads((tmp_path / "sweep" / "leaderboard.json").read_text())["trials"]
    default, average = (
        {
            trial["params"]["seed"]: trial["metrics"]["val/acc"]
            for trial in trials
            if trial["params"]["callbacks"] == choice
        }
        for choice in ("default", "ema")
    )
    assert len(default) == len(average) == 5
    differences = [average[seed] - default[seed] for seed in default]
    assert fmean(differences) >= -stdev(differences) / len(differences) ** 0.5


TRAINING = (
    "model=softmax optimizer=sgd optimizer.lr=3 scheduler=none trainer=cpu trainer.max_epochs=6 "
    "trainer.limit_train_batches=4 trainer.limit_val_batches=1 trainer.limit_test_batches=1 "
    "monitor=train/loss mode=min logger=csv ~callbacks.pictures seed=1"
)


def best_of(folder: Path) -> tuple[int, dict[str, Any], dict[str, float]]:
    """Return the steps of a run's best checkpoint, its weights, and each epoch's training loss."""
    content = read_checkpoint(folder / BEST)
    with (folder / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train/loss"]]
    losses = {4 * (int(row["epoch"]) + 1): float(row["train/loss"]) for row in rows}
    return content["global_step"], content["state_dict"], losses


@pytest.mark.parametrize("more", ["", "data.val_size=0", "trainer.check_val_every_n_epoch=2"])
def test_a_metric_of_training_judges_the_weights_of_its_own_epoch(
    more: str, tmp_path: Path
) -> None:
    command = f"train {TRAINING} {more} optimizer.lr=1"
    assert call(f"{command} hydra.run.dir=run", tmp_path).returncode == 0
    step, weights, losses = best_of(tmp_path / "run")
    assert step == min(losses, key=losses.__getitem__)
    assert call(f"{command} trainer.max_steps={step} hydra.run.dir=up_to", tmp_path).returncode == 0
    last = read_checkpoint(tmp_path / "up_to" / LAST)["state_dict"]
    assert all(torch.equal(weights[name], last[name]) for name in weights)
    stack = "-m hydra/launcher=fused hydra.sweep.dir=s seed=1,2"
    if not more:
        assert call(f"{command.replace('seed=1', '')} {stack}", tmp_path).returncode == 0
        stacked_step, stacked, _ = best_of(tmp_path / "s/0")
        assert stacked_step == step
        assert all(torch.equal(weights[name], stacked[name]) for name in weights)


@pytest.mark.parametrize("batch", [9, 12, 13, 21])
def test_a_run_that_training_judges_is_resumed_to_the_same_best(batch: int, tmp_path: Path) -> None:
    command = f"train {TRAINING} callbacks.checkpoint.every_n_steps=3 hydra.run.dir="
    assert call(f"{command}whole", tmp_path).returncode == 0
    killed_at(batch, f"{command}run", tmp_path)
    assert call(f"{command}run", tmp_path).returncode == 0
    (step, whole, _), (same_step, again, _) = best_of(tmp_path / "whole"), best_of(tmp_path / "run")
    assert step == same_step
    assert all(torch.equal(whole[name], again[name]) for name in whole)
