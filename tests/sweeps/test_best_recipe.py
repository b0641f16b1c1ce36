"""The best trial as a recipe."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.config.resolve import follow_data
from mnist_lab.runs.manifest import flat
from mnist_lab.sweeps.best_recipe import write_best
from mnist_lab.sweeps.records import Record


def composed(overrides: list[str], folder: str | None = None) -> dict[str, Any]:
    config = Loader(overrides, [folder] if folder else []).compose(overrides)
    follow_data(config)  # as each trial of a sweep does
    plain: Any = OmegaConf.to_container(config)
    del plain["hydra"]
    return flat(plain)


def written(folder: Path, overrides: list[str], config_dir: str | None = None) -> list[str]:
    """Write the recipe of a trial, and return the arguments of its command."""
    record = Record(7, {}, 7, metrics={"time/fit": 12.3})
    loader = Loader(overrides, [config_dir] if config_dir else [])
    command = write_best(folder, record, loader, loader.compose(overrides), "val/acc=0.9876")
    text = (folder / "experiment" / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# The best trial of a sweep: val/acc=0.9876.\n")
    assert "# Source: trial 7 of " in text
    assert f"# Command: {command}" in text
    program, verb, *arguments = shlex.split(command)
    assert (program, verb) == ("mnist-lab", "train")
    return arguments


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=0.01"],
        ["model=cnn", "model.channels=[8]", "model.kernel_size=3", "scheduler=none", "seed=3"],
        ["experiment=tf_deep_relu", "optimizer.lr=1e-05", "trainer=cpu"],
        ["sweep=mlp_search", "model.hidden_dims=[64]", "model.dropout=0.30000000000000004"],
        ["callbacks=early_stopping", "callbacks.early_stopping.patience=7", "logger=none"],
        ["monitor=val/loss", "mode=min", "data.augment=affine", "optimizer.betas=[0.7,0.9]"],
        ["+callbacks.mine._target_=my.Own", "+callbacks.mine.key=3", "allow_targets=[my.]"],
        ["+callbacks.mine={_target_: lightning.pytorch.callbacks.Timer}", "~scheduler"],
        ["logger=[csv]", "~callbacks.pictures", "callbacks.checkpoint.every_n_steps=9"],
        ["experiment=[tf_deep_relu,cnn]", "trainer=cpu"],
        ["experiment=[softmax_sgd]", "sweep=[mlp_search]", "seed=3"],
        [],
    ],
    ids=" ".join,
)
def test_recipe_composes_to_the_trials_config(overrides: list[str], tmp_path: Path) -> None:
    flag, folder, *recipe = written(tmp_path, overrides)
    assert (flag, recipe[0]) == ("--config-dir", "experiment=best")
    assert composed(recipe, folder) == composed(overrides)


def test_a_folder_of_ones_own_is_named_in_the_command(tmp_path: Path) -> None:
    files = {
        "model/mine.yaml": "_target_: mnist_lab.models.SoftmaxRegression",
        "data/kmnist.yaml": "defaults: [mnist]\nval_size: 100",
        "places/here.yaml": "# @package _global_\nseed: 7",
        "experiment/inner.yaml": "# @package _global_\ntrainer:\n  max_epochs: 3",
        "experiment/outer.yaml": "# @package _global_\n"
        "defaults: [inner, override /model: mine]\noptimizer:\n  lr: 0.5",
    }
    for name, text in files.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text + "\n")
    sweep_dir, conf = tmp_path / "it's a [sweep]", str(tmp_path / "conf")
    sweep_dir.mkdir()
    overrides = ["experiment=outer", "data=kmnist", "+places=here", "trainer.max_steps=9"]
    flag, folder, *recipe = written(sweep_dir, overrides, conf)
    assert (flag, folder) == ("--config-dir", conf)
    assert composed(recipe, folder) == composed(overrides, conf)


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=relative"],
        ["experiment=absolute"],
        ["experiment=inner/nested"],
        ["experiment=places"],
        ["experiment=[relative,absolute]"],
        ["+places=[here,there]", "seed=3"],
    ],
    ids=" ".join,
)
def test_what_a_recipe_of_ones_own_includes_is_written(
    overrides: list[str], tmp_path: Path
) -> None:
    files = {
        "experiment/base": "optimizer: {lr: 0.5}",
        "experiment/inner/base": "trainer: {max_epochs: 17}",
        "experiment/relative": "defaults: [inner/base, _self_]\nseed: 4",
        "experiment/absolute": "defaults: [/experiment/base, _self_]\nmonitor: val/loss\n"
        "data: {seed: '${seed}'}",
        "experiment/inner/nested": "defaults: [base, override /model: softmax]",
        "experiment/places": "defaults: [{/places: [here, there]}, _self_]\nseed: 4",
        "places/here": "threads: 1",
        "places/there": "data: {val_size: 100}",
    }
    for name, text in files.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# @package _global_\n{text}\n")
    conf = str(tmp_path / "conf")
    _, folder, *recipe = written(tmp_path, overrides, conf)
    assert composed(recipe, folder) == composed(overrides, conf)


def test_each_folder_of_ones_own_is_named_in_order(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("first", "second")]
    for folder, width in zip(folders, (8, 16), strict=True):
        for name, file in (("both", "model/both.yaml"), (folder[-1], f"model/of_{width}.yaml")):
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"defaults: [mlp]\nhidden_dims: [{width}]  # {name}\n")
    overrides = ["model=both", "seed=3"]
    loader = Loader(overrides, folders)
    config = loader.compose(overrides)
    assert config.model.hidden_dims == [8]
    assert Loader([], folders).compose(["model=of_16"]).model.hidden_dims == [16]
    command = write_best(tmp_path, Record(7, {}, 7), loader, config, "val/acc=0.9")
    named = ["--config-dir", folders[0], "--config-dir", folders[1], "experiment=best"]
    assert shlex.split(command)[2:7] == named
    recipe = shlex.split(command)[6:]
    again: Any = OmegaConf.to_container(Loader(recipe, folders).compose(recipe))
    assert again["model"]["hidden_dims"] == [8]


def test_only_choices_and_values_that_were_set_are_written(tmp_path: Path) -> None:
    written(tmp_path, ["model=mlp", "model.hidden_dims=[64]", "seed=${hydra:job.num}"])
    recipe = OmegaConf.load(tmp_path / "experiment" / "best.yaml")
    assert recipe == {"model": {"hidden_dims": [64]}, "seed": 7}


def test_a_number_of_batches_is_told_from_a_share_of_them(tmp_path: Path) -> None:
    overrides = ["model=softmax", "trainer.limit_val_batches=1"]  # where the default is 1.0
    _, folder, *recipe = written(tmp_path, overrides)
    assert repr(composed(recipe, folder)) == repr(composed(overrides))


def test_choices_that_need_a_value_beside_them_have_all_values_written(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(
        "_target_: mnist_lab.models.MLP\nhidden_dims: ???\n"
    )
    overrides, conf = ["model=mine", "model.hidden_dims=[8]"], str(tmp_path / "conf")
    _, folder, *recipe = written(tmp_path, overrides, conf)
    assert composed(recipe, folder) == composed(overrides, conf)


def test_what_was_searched_is_written_where_it_is_the_default(tmp_path: Path) -> None:
    written(tmp_path, ["model=mlp", "optimizer.lr=1e-3", "seed=3"])
    recipe = OmegaConf.load(tmp_path / "experiment" / "best.yaml")
    assert recipe == {"optimizer": {"lr": 1e-3}, "seed": 3}
