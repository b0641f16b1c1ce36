"""Runs that were killed come to the same weights, files and points as those that were not.

Each is killed in this process, in the middle of its second epoch. ``scripts/crash_test.py --each``
kills real processes, anywhere.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from door import call
from killed import killed_at

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
from crash_rows.compare import differences, outcome  # noqa: E402
from crash_rows.runner import MORE  # noqa: E402

SHORT = (
    "model=mlp model.hidden_dims=[8] model.dropout=0.2 trainer=cpu trainer.max_epochs=2 "
    "trainer.limit_train_batches=24 trainer.limit_val_batches=1 trainer.limit_test_batches=1 "
    "trainer.log_every_n_steps=5 callbacks.checkpoint.every_n_steps=7 "
    "~callbacks.pictures ~callbacks.progress trainer.enable_model_summary=false"
)
_OWN_TRAINING = "allow_targets=[own_training.]"
_ADD = "+callbacks.x._target_=lightning.pytorch.callbacks."
NEIGHBOURS = {
    "16 bits": "trainer.precision=bf16-true",
    "gradients clipped": "trainer.gradient_clip_val=0.1",
    "average after an epoch": f"{_ADD}EMAWeightAveraging "
    "+callbacks.x.update_starting_at_epoch=0 +callbacks.x.update_every_n_steps=0",
    "a mean of all weights": f"{_ADD}WeightAveraging",
    "saved where an error is": f"{_ADD}ModelCheckpoint +callbacks.x.save_on_exception=true",
    "accumulates more later": f"{_ADD}GradientAccumulationScheduler scheduler=none "
    "+callbacks.x.scheduling={1:2}",
    "without validation": "data.val_size=0",
    "a table of rows": "logger=csv",
    "noise at the start of an epoch": "allow_targets=[own_callbacks.] "
    "+callbacks.x._target_=own_callbacks.Noise",
    **{
        f"data of one's own, {kind}": f"data._target_=own_training.{kind} {_OWN_TRAINING}"
        for kind in ("Shuffled", "WithWorker", "Sampled", "Streamed")
    },
    "sums of one's own": "data._target_=own_training.Shuffled monitor=train_loss_epoch mode=min "
    f"model._target_=own_training.Measured {_OWN_TRAINING}",
    "state by a module's hooks": "data._target_=own_training.Shuffled monitor=val_acc "
    f"model._target_=own_training.Curriculum {_OWN_TRAINING}",
    "state by a callback's hooks": "+callbacks.x._target_=own_training.Counter scheduler=none "
    f"{_OWN_TRAINING}",
    "state of a data module": f"data._target_=own_training.Brighter {_OWN_TRAINING}",
    "a stream to its end": "data._target_=own_training.Streamed scheduler=none "
    f"trainer.limit_train_batches=null {_OWN_TRAINING}",
    "much at once": " ".join(
        MORE[name].replace("callbacks.x", f"callbacks.{name}")
        for name in ("double", "lr_monitor_epoch", "saved_best_two", "ema")
    ),
}
QUICK = {
    *("two_optimizers", "swa_batch_norm", "much at once", "sums of one's own"),
    "data of one's own, Shuffled",
}


def _case(name: str) -> Any:
    marks = () if name in QUICK else pytest.mark.slow
    return pytest.param(name, marks=marks)


@pytest.mark.thorough(keep=1)
@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches")
@pytest.mark.parametrize("name", [_case(name) for name in (*MORE, *NEIGHBOURS)])
def test_a_run_that_was_killed_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    command = f"train {SHORT} {MORE.get(name) or NEIGHBOURS[name]} hydra.run.dir="
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = call(f"{command}{whole}", tmp_path)
    assert done.returncode == 0, done.stderr
    killed_at(37, f"{command}{broken}", tmp_path)
    done = call(f"{command}{broken}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumes from step" in done.stdout
    before, after = outcome(whole), outcome(broken)
    assert {what: (before[what], after[what]) for what in differences(before, after)} == {}


@pytest.mark.thorough
def test_killed_twice_while_batch_norm_is_measured_anew(tmp_path: Path) -> None:
    command = f"train {SHORT} {MORE['swa_batch_norm']} logger=none hydra.run.dir="
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call(f"{command}{whole}", tmp_path).returncode == 0
    killed_at(58, f"{command}{broken}", tmp_path)  # of 72 batches, 24 of them after the last step
    killed_at(8, f"{command}{broken}", tmp_path)
    done = call(f"{command}{broken}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert differences(outcome(whole), outcome(broken)) == []


@pytest.mark.slow
def test_an_average_is_the_same_after_a_kill_before_any_step(tmp_path: Path) -> None:
    command = f"train {SHORT} callbacks=ema hydra.run.dir="
    assert call(f"{command}{tmp_path / 'whole'}", tmp_path).returncode == 0
    before = outcome(tmp_path / "whole")
    for number in range(1, 48, 2):
        broken = tmp_path / str(number)
        killed_at(number, f"{command}{broken}", tmp_path)
        assert call(f"{command}{broken}", tmp_path).returncode == 0
        after = outcome(broken)
        assert {what: (before[what], after[what]) for what in differences(before, after)} == {}
