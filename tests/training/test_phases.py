"""Settings that change in mid-training: alone, in a stack, and after a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from door import call, train
from killed import killed_at

from mnist_lab import MLP, SoftmaxRegression
from mnist_lab.errors import ConfigError
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.models import Classifier
from mnist_lab.models.optimizers import build_optimizer
from mnist_lab.runs.directory import BEST, LAST
from mnist_lab.training import Phases

PHASES = (
    "'+callbacks.phases={_target_:mnist_lab.training.Phases,phases:["
    "{epoch:1,optimizer.lr:0.03,optimizer.weight_decay:0.01,model.label_smoothing:0.2},"
    "{epoch:2,optimizer.lr:0.3,optimizer.momentum:0.5,model.dropout:0.4}]}'"
)
RUN = (
    "model=mlp model.hidden_dims=[16] model.dropout=0.2 optimizer=sgd optimizer.momentum=0.9 "
    "scheduler=none trainer=cpu trainer.max_epochs=3 trainer.limit_train_batches=3 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 logger=none ~callbacks.pictures"
)


def built(**settings: Any) -> tuple[Classifier, torch.optim.Optimizer]:
    optimizer = {"name": "sgd", "momentum": 0.9}
    model = MLP([8], dropout=0.2, optimizer=optimizer, **settings)
    return model, build_optimizer(model.optimizer_settings, model.parameters(), fused=True)


@pytest.mark.parametrize(
    ("epoch", "values"),
    [
        (0, (0.01, 0.0, 0.9, 0.2, 0.0)),
        (1, (0.03, 0.01, 0.9, 0.2, 0.2)),
        (3, (0.03, 0.02, 0.5, 0.4, 0.2)),
    ],
)
def test_a_setting_stays_until_another_phase_sets_it(epoch: int, values: tuple[float, ...]) -> None:
    first = {"optimizer.lr": 0.03, "optimizer.weight_decay": 0.01, "model.label_smoothing": 0.2}
    second = {"optimizer.weight_decay": 0.02, "optimizer.momentum": 0.5, "model.dropout": 0.4}
    model, optimizer = built()
    optimizer.param_groups[0]["lr"] = 0.01
    Phases([{"epoch": 1, **first}, {"epoch": 3, **second}]).set(epoch, model, optimizer)
    group = optimizer.param_groups[0]
    own = (group["lr"], group["weight_decay"], group["momentum"])
    assert (*own, model.net[3].p, model.label_smoothing) == values


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([{"optimizer.lr": 0.1}], "epoch=None: must be a whole number of at least 0"),
        ([{"epoch": 1}, {"epoch": 1}], "epoch=1: must be a whole number of at least 2"),
        ([{"epoch": 1, "optimizer.betas": 0.1}], "optimizer.betas: must be one of optimizer.lr"),
        ([{"epoch": 1, "optimizer.lr": 0}], "optimizer.lr=0: must be a number above 0"),
        ([{"epoch": 1, "model.dropout": 1}], "must be a number above 0 and below 1"),
    ],
)
def test_a_wrong_phase_is_refused(phases: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Phases(phases)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("model", "key", "words"),
    [
        (lambda: SoftmaxRegression(), "model.dropout", "must begin with one above 0"),
        (lambda: MLP([8]), "optimizer.momentum", "must begin with one above 0"),
        (lambda: MLP([8], scheduler={"name": "cosine"}), "optimizer.lr", "scheduler=cosine"),
        (lambda: torch.nn.Linear(2, 2), "optimizer.lr", "needs a model"),
    ],
)
def test_a_model_without_a_place_for_it_is_refused(model: Any, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Phases([{"epoch": 1, key: 0.1}]).check(model())


def test_a_wrong_phase_is_one_line_and_no_directory(tmp_path: Path) -> None:
    done = call(f"train {RUN} {PHASES.replace('0.03', '-1')} hydra.run.dir=r", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batches", [3, 4, 7])
def test_a_run_that_is_killed_is_resumed_to_the_same_bits(batches: int, tmp_path: Path) -> None:
    run = train(f"{RUN} {PHASES} hydra.run.dir=a", tmp_path)
    often = "callbacks.checkpoint.every_n_steps=1"
    assert read_checkpoint(run / LAST)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.3
    killed_at(batches, f"train {RUN} {PHASES} {often} hydra.run.dir=b", tmp_path)
    assert call("resume b", tmp_path).returncode == 0
    for name in (LAST, BEST):
        whole, resumed = read_checkpoint(run / name), read_checkpoint(tmp_path / "b" / name)
        for key in ("state_dict", "optimizer_states"):
            torch.testing.assert_close(whole[key], resumed[key], rtol=0, atol=0)


def test_trials_of_a_stack_have_the_weights_of_lone_runs(tmp_path: Path) -> None:
    run = train(f"{RUN} {PHASES} hydra.run.dir=a", tmp_path)
    options = f"{RUN} {PHASES} hydra/launcher=fused hydra.sweep.dir=s"
    done = call(f"train -m {options} optimizer.weight_decay=0,0.1", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    whole = read_checkpoint(run / LAST)
    (place,) = {path.parent for path in (tmp_path / "s").glob("*0/manifest.json")}
    stacked = read_checkpoint(place / LAST)
    for key in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(whole[key], stacked[key], rtol=0, atol=0)
