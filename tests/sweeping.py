"""What the tests of sweeps share: a sweep of few steps, and what it left."""

from pathlib import Path
from typing import Any

import optuna
from door import FEW_BATCHES

from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Ledger, Record

LR = "optimizer.lr"
SOFTMAX = ["model=softmax", *FEW_BATCHES.split()]
TROUBLE = """\
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
class Trouble(L.Callback):
    def on_train_start(self, trainer, pl_module):
        number = HydraConfig.get().job.num
        if number in (3, 7, 11):
            raise RuntimeError(f"bad luck of {number}")
        if number == 5:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.fill_(float("nan"))
"""
TROUBLED = ["+callbacks.trouble._target_=trouble.Trouble", "allow_targets=[trouble.]"]
TPE = [
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "optimizer.weight_decay=interval(0,0.5)",
    "model.init=choice(default,zeros,normal)",
    "hydra.sweeper.n_trials=20",
    "hydra.sweeper.sampler_options={n_startup_trials:4}",
]
HALVING = [
    "trainer.max_epochs=4",
    "hydra.sweeper.pruner=successive_halving",
    "hydra.sweeper.pruner_options={min_resource:1,reduction_factor:2}",
]
TYPED_AGAIN = [  # what may not come from a sweep's directory
    "hydra.sweeper.storage=/tmp/canary",
    "hydra.sweeper.study_name=x",
    "++hydra.sweeper.storage=sqlite:////tmp/canary",
    "hydra.launcher.parameters={setup: [touch canary]}",
    "+hydra.launcher.parameters.setup=[touch canary]",
    "hydra.launcher.address=ray://elsewhere:1",
    "hydra.launcher._target_=hydra_plugins.other.Launcher",
    "hydra.sweeper._target_=x.Y",
    "~hydra.sweeper.storage",
    "hydra.sweeper={storage: /tmp/canary}",
    "hydra={sweeper: {storage: /tmp/canary}}",
    "+experiment@hydra.sweeper=x",
    "+experiment@_global_.hydra.launcher=x",
    "+model@hydra.job.env_set=mlp",
    "hydra/launcher=../../../tmp/canary",
    "hydra/sweeper=${oc.env:EVIL}",
    "hydra/job_logging=disabled",
    "hydra/env=default",
    "hydra.callbacks.x._target_=x.Y",
    "hydra.searchpath=[/tmp]",
    "hydra.run.dir=/tmp/canary",
    "hydra.output_subdir=../canary",
    "hydra.job.chdir=true",
    "hydra.job.env_set.LD_PRELOAD=/tmp/canary.so",
    "+hydra.job_logging.handlers.x.filename=/tmp/canary",
    "model=../../../tmp/canary",
    "experiment=../canary",
    "sweep=a/../../canary",
    "model=mlp,../canary",
    "model=${oc.env:EVIL}",
    "data.root=/tmp/canary",
    "+data.root=canary",
    "data.root=a,b",
    "data={root: /tmp/canary}",
    "++data={root: a},{root: b}",
    "hydra.sweeper.params={data: '{root: a}'}",
    "hydra.sweeper.params={hydra.job.env_set.PATH: x}",
    "hydra.sweeper.params={hydra: {sweep: {dir: /tmp/canary}}}",
    "hydra.sweeper.params.hydra.sweep.dir=/tmp/canary",
    "+hydra.sweeper.params.data.root=/tmp/canary",
    "hydra.sweeper.params={model: '../canary'}",
    "hydra.sweeper.params={experiment@hydra.job: x}",
]


def records(folder: str = "s") -> list[Record]:
    return list(Ledger(Path(folder)))


def study(folder: str = "s") -> optuna.Study:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db")


def finished(number: int, *values: float, **metrics: float) -> Record:
    """Return a trial's record."""
    params = {LR: f"0.00{number}234567", "+callbacks.x.lr": "[1,2]", "seed": "1"}
    known: dict[str, Any] = {"val/acc": values[0] if values else None, "test/acc": 0.25} | metrics
    return Record(
        number, params, number, RunState.FINISHED, str(number), list(values) or None, metrics=known
    )


def seeds(lr: str, *values: float | None, start: int = 0, **metrics: float) -> list[Record]:
    """Return finished trials that differ in their seed alone; None is one that has no value."""
    return [
        Record(
            start + seed,
            {LR: lr, "seed": str(seed)},
            start + seed,
            RunState.FINISHED,
            values=None if value is None else [value, *metrics.values()],
            metrics={"val/acc": value, "time/fit": 10.0 * (seed + 1), **metrics},
        )
        for seed, value in enumerate(values)
    ]
