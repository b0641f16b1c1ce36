"""The best trial as a recipe."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.runs.manifest import flat
from mnist_lab.sweeps.best_recipe import write_best
from mnist_lab.sweeps.records import Record


def composed(overrides: list[str], folder: Path | None = None) -> dict[str, Any]:
    loader = Loader(overrides, str(folder) if folder else None)
    plain: Any = OmegaConf.to_container(loader.compose(overrides))
    del plain["hydra"]
    return flat(plain)


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
        [],
    ],
    ids=" ".join,
)
def test_recipe_composes_to_the_trials_config(overrides: list[str], tmp_path: Path) -> None:
    record = Record(7, {}, 7, metrics={"time/fit": 12.3})
    command = write_best(tmp_path, record, Loader(overrides), overrides, "val/acc=0.9876")
    recipe = ["experiment=best"]
    if "allow_targets=[my.]" in overrides:
        recipe.append("allow_targets=[my.]")
        assert command.endswith(" experiment=best 'allow_targets=[my.]'")
    assert composed(recipe, tmp_path) == composed(overrides)
    text = (tmp_path / "experiment" / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# The best trial of a sweep: val/acc=0.9876.\n")
    assert "# Source: trial 7 of " in text
    assert f"# Command: {command}" in text


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    overrides = ["model=mlp", "model.hidden_dims=[64]", "optimizer.lr=0.003"]
    write_best(tmp_path, Record(0, {}, 0), Loader(overrides), overrides, "val/acc=1")
    assert OmegaConf.load(tmp_path / "experiment" / "best.yaml") == {"model": {"hidden_dims": [64]}}
