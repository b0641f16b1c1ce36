"""A run's config, read again for evaluation."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.compose import compose
from mnist_lab.config.saved import run_config, stored_config
from mnist_lab.errors import ConfigError, InputError, UntrustedError
from mnist_lab.runs.directory import CONFIG, MANIFEST


def store_run(folder: Path, *overrides: str) -> Path:
    config = compose(overrides)
    (folder / CONFIG).write_text(OmegaConf.to_yaml(config))
    (folder / MANIFEST).write_text('{"precision": "bf16-mixed"}')
    return folder


def test_stored_config_is_the_runs_own(tmp_path: Path) -> None:
    run = store_run(tmp_path, "model=cnn", "data=kmnist", "data.val_size=7", "data.augment=affine")
    config = stored_config(run, ["data.batch_size=9"])
    assert config.model._target_ == "mnist_lab.models.CNN"
    assert (config.data.dataset, config.data.val_size, config.data.batch_size) == ("kmnist", 7, 9)
    assert config.data.augment is None
    assert config.trainer.precision == "bf16-mixed"
    other = stored_config(run, ["data=mnist", "trainer.precision=32-true"])
    assert (other.data.dataset, other.trainer.precision) == ("mnist", "32-true")


def test_stored_own_model_needs_the_command_line(tmp_path: Path) -> None:
    run = store_run(tmp_path, "model._target_=own_code.Model", "allow_targets=[own_code.]")
    with pytest.raises(UntrustedError, match=r"model._target_=own_code\.Model"):
        stored_config(run, [])
    assert stored_config(run, ["allow_targets=[own_code.]"]).model._target_ == "own_code.Model"


@pytest.mark.parametrize("text", ["", "- 1", "model: 3", "data: {}", "{", "data: {dataset: x}"])
def test_damaged_stored_config(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises((InputError, ConfigError), match=r"config\.yaml|data"):
        stored_config(tmp_path, [])


def test_stored_own_data_are_read_again(tmp_path: Path) -> None:
    own = ["data._target_=own_code.Data", "allow_targets=[own_code.]", "model.num_classes=2"]
    run = store_run(tmp_path, *own)
    assert stored_config(run, ["allow_targets=[own_code.]"]).data._target_ == "own_code.Data"
    with pytest.raises(UntrustedError, match=r"data._target_=own_code\.Data"):
        stored_config(run, [])
    with pytest.raises(ConfigError, match=r"model.num_classes=2: must be at least 10"):
        stored_config(run, ["data=mnist", "allow_targets=[own_code.]"])


def test_the_old_name_of_the_checkpoint_callback_is_read_for_good(tmp_path: Path) -> None:
    run = store_run(tmp_path)
    path, new = run / CONFIG, "mnist_lab.training.Checkpoint"
    path.write_text(path.read_text().replace(new, "mnist_lab.callbacks.Checkpoint"))
    assert run_config(run, []).callbacks.checkpoint._target_ == new


@pytest.mark.parametrize("chosen", [["scheduler=cosine"], []])
def test_a_schedule_of_none_typed_over_another_choice(tmp_path: Path, chosen: list[str]) -> None:
    run = store_run(tmp_path, *chosen, "scheduler.name=none")
    assert run_config(run, []).scheduler == {"name": "none"}
