"""Trials that differ in plain values are what Hydra makes of each alone, to the last byte."""

from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import run_job, setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab.config.compose import Loader
from mnist_lab.config.hydra_internals import job_context
from mnist_lab.config.resolve import reading

FIRST = ["optimizer.lr=0.1", "seed=3", "model.hidden_dims=[8]", "scheduler.pct_start=0.5"]
OTHER = ["optimizer.lr=1e-3", "seed=4", "model.hidden_dims=[8,9]", "scheduler.pct_start=0.25"]
FIXED = ["trainer.max_epochs=3"]
READ = "logger.tensorboard.save_dir=${run_dir}/logs"  # which no folder can be named by
SUBDIRS = [
    "${hydra:job.num}",
    "lr_${optimizer.lr}_${data.seed}",
    "${hydra:job.override_dirname}",
]


def job_of(loader: Loader, master: DictConfig, overrides: list[str], number: int) -> Any:
    """Run a job that does nothing, as Hydra does."""
    setup_globals()
    config = loader.load_sweep_config(master, overrides)
    with open_dict(config):
        config.hydra.job.num, config.hydra.job.id = number, str(number)
    return run_job(
        hydra_context=job_context(loader, master),
        task_function=lambda _: None,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        configure_logging=False,
    )


@pytest.mark.parametrize("subdir", SUBDIRS)
def test_a_launch_is_hydras(subdir: str, tmp_path: Path) -> None:
    fixed = FIXED if "dirname" in subdir else [*FIXED, READ]
    place = [f"hydra.sweep.dir={tmp_path}", f"hydra.sweep.subdir={subdir}"]
    loader, alone = Loader([*fixed, *place]), Loader([*fixed, *place])
    master = loader.compose([*fixed, *place], RunMode.MULTIRUN)
    loader.trial(master, [*fixed, *FIRST], 0)
    checked = loader.trial(master, [*fixed, *OTHER], 7)
    expected = alone.trial(master, [*fixed, *OTHER], 7)
    assert without_hydra(checked) == without_hydra(expected)
    launch = loader.launch(master, [*fixed, *OTHER], 7)
    assert launch is not None
    of_hydra = job_of(alone, master, [*fixed, *OTHER], 7)
    assert launch.run_dir == Path(of_hydra.hydra_cfg.hydra.runtime.output_dir)
    written = {path.name: path.read_text() for path in launch.run_dir.rglob("*.yaml")}
    assert {path.name: text for path, text in launch.files.items()} == written
    with reading(of_hydra.hydra_cfg):
        assert launch.config == of_hydra.cfg
    kept = [
        OmegaConf.to_container(each)
        for each in (
            loader.load_sweep_config(master, [*fixed, *OTHER]),
            alone.load_sweep_config(master, [*fixed, *OTHER]),
        )
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("data.root=.", "data.root=.."),
        ("+trainer.max_time=null", "+trainer.max_time=null"),
        ("seed=1", "seed=${trainer.max_epochs}"),
        ("data.dataset=mnist", "data.dataset=fashion_mnist"),
        ("trainer.max_time={hours:1}", "trainer.max_time={minutes:1}"),
    ],
)
def test_what_is_composed_by_is_composed_for_each(first: str, other: str) -> None:
    loader, alone = Loader(FIXED), Loader(FIXED)
    master = loader.compose(FIXED, RunMode.MULTIRUN)
    loader.trial(master, [first], 0)
    trial = loader.trial(master, [other], 1)
    assert without_hydra(trial) == without_hydra(alone.trial(master, [other], 1))
    assert loader.launch(master, [other], 1) is None


def without_hydra(config: DictConfig) -> Any:
    return {**OmegaConf.to_container(config), "hydra": None}  # type: ignore[dict-item]
