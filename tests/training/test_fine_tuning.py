"""Runs that begin with the weights of another, and train a part of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from door import call
from killed import killed_at
from torch import nn

from mnist_lab.errors import ConfigError
from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.runs.directory import BEST, LAST
from mnist_lab.training.fine_tuning import freeze

FEW = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=6 trainer.limit_val_batches=1 "
    "trainer.limit_test_batches=1 callbacks.checkpoint.every_n_steps=2 ~callbacks.pictures "
    "~callbacks.progress logger=none trainer.enable_model_summary=false"
)
SMALL = f"{FEW} model=mlp model.hidden_dims=[16,8] model.batch_norm=true"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    done = call(f"train {SMALL} seed=3 hydra.run.dir=run", folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def weights(run_dir: Path, name: Path = LAST) -> dict[str, Any]:
    state: dict[str, Any] = read_checkpoint(run_dir / name)["state_dict"]
    return state


def manifest(run_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_dir / "manifest.json").read_text())
    return content


@pytest.mark.thorough
def test_what_is_frozen_stays_and_the_rest_is_trained(source: Path, tmp_path: Path) -> None:
    command = f"{SMALL} init_from={source} freeze=[net.1,net.2] optimizer.weight_decay=0.1"
    done = call(f"train {command} hydra.run.dir=tuned", tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = weights(source, BEST), weights(tmp_path / "tuned")
    same = {name for name in after if after[name].equal(before[name])}
    assert same == {f"net.{part}" for part in ("1.weight", "1.bias", "2.weight", "2.bias")}
    path = source / BEST
    assert manifest(tmp_path / "tuned")["init_from"] == {
        "path": str(path),
        "sha256": sha256_of(before),
    }
    assert call("evaluate tuned", tmp_path).returncode == 0

    done = call("verify tuned", tmp_path)
    line = f"mnist-lab verify: init_from={source}: is outside the run's directory, and taken from "
    assert done.returncode == 4
    assert done.stderr.startswith(line)
    done = call(f"verify tuned init_from={source}", tmp_path)
    assert done.returncode == 0, done.stderr
    done = call(f"verify tuned init_from=tuned/{BEST}", tmp_path)
    assert done.returncode == 1
    assert "different: init_from of sha256: " in done.stderr


@pytest.mark.thorough
def test_a_resumed_run_does_not_read_its_source_again(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "first")
    command = f"train {SMALL} init_from=first freeze=[net.1] hydra.run.dir="
    assert call(f"{command}whole", tmp_path).returncode == 0
    killed_at(9, f"{command}broken", tmp_path)
    killed_at(1, f"{command}begun", tmp_path)
    shutil.rmtree(tmp_path / "first")
    done = call("resume broken", tmp_path)
    assert done.returncode == 0, done.stderr
    hashes = [manifest(tmp_path / name)["sha256"] for name in ("whole", "broken")]
    assert hashes[0] == hashes[1]
    done = call("resume begun", tmp_path)  # which has no checkpoint yet
    assert done.returncode == 4
    assert "type it again: init_from=" in done.stderr
    done = call(f"resume begun init_from={source}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path / "begun")["sha256"] == hashes[0]


def test_the_last_layer_is_new_where_there_are_other_classes(source: Path, tmp_path: Path) -> None:
    command = f"train {SMALL} init_from={source / LAST} model.num_classes=12 optimizer.lr=1e-12"
    done = call(f"{command} hydra.run.dir=tuned", tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = weights(source), weights(tmp_path / "tuned")
    assert after["net.9.weight"].shape == (12, 8)
    assert after["net.5.weight"].allclose(before["net.5.weight"], atol=1e-6)


REFUSED = {
    "init_from=nowhere": (3, "nowhere: no such file or folder; give a run's directory"),
    "init_from={source}/manifest.json": (3, "manifest.json: not a checkpoint"),
    "init_from={source}/..": (3, "no checkpoint in it; is it a run's directory?"),
    "init_from={source} model.hidden_dims=[16,9]": (
        3,
        "not a checkpoint of this model: net.5.weight is 8x16 there, 9x16 in the model",
    ),
    "init_from={source} model.hidden_dims=[16]": (3, "net.5.weight is 8x16 there, 10x16 in the"),
    "freeze=[net.0]": (2, "freeze=net.0: must be a module of the model: net, net.1, net.2, net.5,"),
    "freeze=[net]": (2, "freeze: leaves nothing to train of net, net.1"),
    "freeze=net.1": (2, "freeze=net.1: must be names of modules that are not trained, such as"),
    "-m init_from=nowhere seed=1,2": (3, "seed=1: init_from="),
}


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    source: Path, tmp_path: Path, words: str
) -> None:
    code, text = REFUSED[words]
    place = "hydra.sweep.dir=run" if "-m" in words else "hydra.run.dir=run"
    done = call(f"train {SMALL} {words.format(source=source)} {place}", tmp_path)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_trials_of_a_stack_that_begin_with_weights_run_one_by_one(
    source: Path, tmp_path: Path
) -> None:
    command = f"-m {SMALL} init_from={source} freeze=[net.1] seed=1,2 hydra/launcher=fused"
    done = call(f"train {command} hydra.sweep.dir=sweep", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 trials run one by one: init_from is not stacked" in done.stdout
    for seed in ("0", "1"):
        after = weights(tmp_path / "sweep" / seed)
        assert after["net.1.weight"].equal(weights(source, BEST)["net.1.weight"])


def test_patterns_are_of_modules_that_have_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    freeze(model, ["0"])
    assert [weight.requires_grad for weight in model.parameters()] == [False] * 2 + [True] * 2
    with pytest.raises(ConfigError, match=r"freeze=1: must be a module of the model: 0, 2"):
        freeze(model, ["1"])
