"""One run through the shipped door: what it leaves, that it repeats, and what TensorBoard gets."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from door import FEW_BATCHES, call, run, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_lab.errors import InputError
from mnist_lab.inference.predict import open_run
from mnist_lab.runs import signals
from mnist_lab.training import run as run_module

SHORT = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=60 trainer.log_every_n_steps=20 "
    "model.hidden_dims=[32]"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of the default model, cut short."""
    return train(SHORT, tmp_path_factory.mktemp("job"))


def test_leaves_a_run_directory(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {".hydra", "config.yaml", "manifest.json", "metrics.json", "checkpoints"} <= names
    assert {path.name for path in (finished / "checkpoints").iterdir()} >= {
        "best.ckpt",
        "last.ckpt",
    }
    metrics = json.loads((finished / "metrics.json").read_text())
    assert {"val/acc", "val/loss", "test/acc", "test/loss", "train/acc", "time/fit"} <= set(metrics)
    assert metrics["test/num_samples"] == 10_000
    assert metrics["steps"] == 120
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["state"] == "finished"
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0]
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["model"]["hidden_dims"] == [32]
    assert str(finished.parent) not in (finished / "config.yaml").read_text()


def test_every_checkpoint_loads_weights_only(finished: Path) -> None:
    for path in (finished / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        assert state["hyper_parameters"]["hidden_dims"] == [32]


def test_tensorboard_has_curves_hparams_config_and_image(finished: Path) -> None:
    events = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    scalars = set(events.Tags()["scalars"])
    names = ("loss", "acc", "loss_step", "acc_step", "lr", "time_epoch")
    curves = {*(f"train/{name}" for name in names), "val/loss", "val/acc"}
    assert curves | {"z_result/test/acc", "z_result/test/loss"} <= scalars
    assert not {"hp_metric", "epoch"} & scalars
    assert [tag for tag in sorted(scalars) if len(events.Scalars(tag)) == 1] == sorted(
        tag for tag in scalars if tag.startswith("z_result/")
    )
    metrics = json.loads((finished / "metrics.json").read_text())
    (best,) = events.Scalars("z_result/best/val/acc")
    assert best.value == pytest.approx(metrics["val/acc"])
    assert [event.step for event in events.Scalars("val/acc")] == [59, 119]
    assert [event.step for event in events.Scalars("train/loss_step")] == [19, 39, 59, 79, 99, 119]
    assert {"z_result/test/confusion", "z_result/test/mistakes"} <= set(events.Tags()["images"])
    assert "config/text_summary" in events.Tags()["tensors"]
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optimizer.lr" in hparams
    assert b"model.hidden_dims" in hparams
    experiment = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert b"test/acc" in experiment


@pytest.mark.slow
def test_same_command_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    command = f"train {SHORT} trainer.max_epochs=1 data.augment=affine logger=none"
    for do, name, seed in ((run, "a", 0), (call, "b", 0), (call, "c", 1)):
        done = do(f"{command} seed={seed} hydra.run.dir={name}", tmp_path)
        assert done.returncode == 0, done.stderr
    first, again, other = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in "abc"
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["net.1.weight"], other["net.1.weight"])


def test_prints_an_epoch_a_line_in_a_file_and_one_table(tmp_path: Path) -> None:
    done = call(f"train {SHORT} logger=none", tmp_path)
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("epoch ")]) == 2
    assert "epoch 2/2" in done.stdout
    assert "tensorboard" not in done.stdout  # there is nothing for it to show
    assert [line.split()[0] for line in lines if "%" in line] == ["train", "val", "test"]
    assert "Warning" not in done.stderr


def test_a_run_that_diverges_says_so_and_leaves_json(tmp_path: Path) -> None:
    done = call(
        f"train {FEW_BATCHES} optimizer=sgd optimizer.lr=1e30 scheduler=none hydra.run.dir=run",
        tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "run: training diverged: " in done.stdout + done.stderr
    assert "Warning" not in done.stderr
    text = (tmp_path / "run" / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["test/loss"] is None
    with pytest.raises(InputError, match="run: training diverged: weights are NaN or infinite"):
        open_run(tmp_path / "run")


@pytest.mark.slow
def test_trainers_arguments_are_overrides(tmp_path: Path) -> None:
    done = run(
        "train trainer.fast_dev_run=true trainer.profiler=simple trainer=cpu hydra.run.dir=fast",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))
    done = run(f"train trainer.barebones=true {SHORT} trainer.log_every_n_steps=null", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "self.log" not in done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("choice", ["data.val_size=0", "trainer.limit_val_batches=0"])
def test_without_validation_the_last_checkpoint_is_tested(choice: str, tmp_path: Path) -> None:
    done = call(
        f"train {SHORT} {choice} callbacks=early_stopping logger=none hydra.run.dir=run",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "val/acc" not in metrics
    assert "test/acc" in metrics


def test_early_stopping_by_a_metric_of_training(tmp_path: Path) -> None:
    done = call(
        f"train {SHORT} callbacks=early_stopping monitor=train/loss mode=min logger=none "
        "trainer.val_check_interval=0.5",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_early_stopping_stops(tmp_path: Path) -> None:
    done = call(
        "train trainer=cpu trainer.limit_train_batches=2 trainer.max_epochs=50 model=softmax "
        "callbacks=early_stopping callbacks.early_stopping.patience=1 optimizer.lr=1e-9 "
        "scheduler=none logger=none hydra.run.dir=run",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] < 5


def test_a_second_run_of_a_rank_does_not_take_itself_for_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a sweep under torchrun, where each rank trains trial after trial."""
    ends: list[Callable[[], bool]] = []
    monkeypatch.setattr(signals, "end_when", ends.append)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for _ in range(2):
        with run_module._tied_ranks():
            assert os.environ[run_module._PARENT] == str(os.getpid())
        assert run_module._PARENT not in os.environ  # for a torchrun that this process starts
    assert ends == []
    monkeypatch.setenv(run_module._PARENT, str(os.getppid()))
    with run_module._tied_ranks():
        (is_over,) = ends
    assert not is_over()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert is_over()
