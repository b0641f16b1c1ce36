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
