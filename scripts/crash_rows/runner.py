"""Starts training processes that can be killed, and takes a run to its end."""

import multiprocessing
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from crash_rows.compare import differences, outcome

CONF = Path(__file__).parents[2] / "conf"

_SMALL = (
    "model=mlp model.hidden_dims=[32] model.dropout=0.2 data.augment=affine trainer.max_epochs=3 "
    "trainer.limit_train_batches=60 trainer.limit_val_batches=2 trainer.limit_test_batches=2 "
    "trainer.log_every_n_steps=10 callbacks.checkpoint.every_n_steps=7 ~callbacks.pictures"
)
_ADD = "+callbacks.x._target_=lightning.pytorch.callbacks."
_OWN = "allow_targets=[crash_rows.] model._target_=crash_rows.models."
MORE = {
    "double": "trainer.precision=64-true",
    "manual": f"{_OWN}Manual scheduler=none",
    "two_optimizers": f"{_OWN}TwoOptimizers scheduler=none trainer.max_steps=300",
    "lr_monitor": f"{_ADD}LearningRateMonitor",
    "lr_monitor_epoch": f"{_ADD}LearningRateMonitor +callbacks.x.logging_interval=epoch",
    "saved_by_default": f"{_ADD}ModelCheckpoint",
    "saved_best_two": f"{_ADD}ModelCheckpoint +callbacks.x.monitor=val/acc +callbacks.x.mode=max "
    "+callbacks.x.save_top_k=2 +callbacks.x.save_last=true",
    "saved_link": f"{_ADD}ModelCheckpoint +callbacks.x.monitor=val/loss "
    "+callbacks.x.save_last=link",
    "saved_by_steps": f"{_ADD}ModelCheckpoint +callbacks.x.every_n_train_steps=11 "
    "+callbacks.x.save_top_k=-1",
    "saved_one_name": f"{_ADD}ModelCheckpoint +callbacks.x.filename=fixed "
    "+callbacks.x.enable_version_counter=false +callbacks.x.save_last=true",
    "swa": "callbacks=swa callbacks.swa.swa_lrs=0.01 callbacks.swa.swa_epoch_start=1 "
    "scheduler=none",
    "swa_batch_norm": "callbacks=swa callbacks.swa.swa_lrs=0.01 callbacks.swa.swa_epoch_start=2 "
    "model.batch_norm=true",
    "ema": "callbacks=ema callbacks.ema.decay=0.95",
    "ema_double": "callbacks=ema callbacks.ema.decay=0.95 trainer.precision=64-true",
    "plateau": "scheduler=plateau trainer.val_check_interval=20",
    "stops_early": "callbacks=early_stopping callbacks.early_stopping.patience=0 "
    "callbacks.early_stopping.min_delta=0.05 trainer.val_check_interval=15",
    "batch_norm": "model.batch_norm=true optimizer=adamw",
    "val_check_interval": "trainer.val_check_interval=13",
    "val_across_epochs": "trainer.val_check_interval=35 trainer.check_val_every_n_epoch=null",
}
CASES = {
    "mlp": "model=mlp model.hidden_dims=[64] model.dropout=0.3 data.augment=affine "
    "trainer.val_check_interval=50 trainer.max_epochs=3 trainer.limit_train_batches=120 "
    "trainer.log_every_n_steps=10 callbacks.checkpoint.every_n_steps=7",
    "cnn": "model=cnn model.channels=[4,8] model.hidden_dims=[32] model.dropout=0.3 "
    "data.augment=elastic trainer.max_epochs=2 trainer.limit_train_batches=40 "
    "trainer.log_every_n_steps=10 callbacks.checkpoint.every_n_steps=3 ~callbacks.pictures",
    "accumulate": "model=mlp model.hidden_dims=[64] model.batch_norm=true model.dropout=0.2 "
    "trainer.accumulate_grad_batches=3 optimizer=sgd optimizer.lr=0.05 optimizer.momentum=0.9 "
    "scheduler=plateau callbacks=early_stopping logger=many trainer.max_epochs=3 "
    "trainer.limit_train_batches=100 trainer.limit_val_batches=2 trainer.log_every_n_steps=5 "
    "callbacks.checkpoint.every_n_steps=4 ~callbacks.pictures",
    **{name: f"{_SMALL} {more}" for name, more in MORE.items()},
}
"""Dropout, augmentation and validation on; in the third also gradient accumulation, batch norm,
early stopping, a schedule that looks at metrics, and two loggers; in each of the others one thing
that a resumed run may lose."""
RECIPES = {
    path.stem: f"experiment={path.stem} trainer.max_epochs=2 trainer.limit_train_batches=12 "
    "trainer.limit_val_batches=2 trainer.limit_test_batches=2 trainer.log_every_n_steps=5 "
    + ("callbacks=default " if path.stem.startswith("speedrun") else "")  # these save nothing
    + "callbacks.checkpoint.every_n_steps=3 ~callbacks.pictures"
    for pattern in ("record_*.yaml", "speedrun*.yaml")
    for path in sorted((CONF / "experiment").glob(pattern))
}
"""The recipes of the records, in short."""

_context = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Have a server import everything once; the processes that it forks start in 0.1 s."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # who is killed leaves its semaphores
    own = str(Path(__file__).parents[1])  # of crash_rows, which the server imports by name
    os.environ["PYTHONPATH"] = os.pathsep.join([own, os.environ.get("PYTHONPATH", "")])
    _context.set_forkserver_preload(
        ["crash_rows.runner", "mnist_lab.training.run", "mnist_lab.cli.train"]
    )


def _train(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from crash_rows import child

    child.prepare()
    from mnist_lab.cli.main import main

    sys.exit(main(arguments))


def start(
    arguments: list[str], folder: Path, environment: dict[str, str], output: Path
) -> BaseProcess:
    """Start a command of the lab in a folder; what it prints goes to the end of a file."""
    process = _context.Process(
        target=_train, args=(arguments, str(folder), environment, str(output))
    )
    process.start()
    return process


def check_end(process: BaseProcess, output: Path) -> None:
    """Wait for a command that ``start`` has started.

    Raises:
        RuntimeError: it ended with an error.
    """
    process.join()
    if process.exitcode != 0:
        text = output.read_text()[-2000:]
        raise RuntimeError(f"{output.stem}: exit {process.exitcode}\n{text}")


@dataclass
class Run:
    """A run of a case in a folder; it is started, broken off, and started again.

    Args:
        folder: where all runs of the test are.
        case: a key of ``CASES`` or of ``RECIPES``.
        name: the name of its directory.
        options: further overrides and environment variables.
    """

    folder: Path
    case: str
    name: str
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run_dir(self) -> Path:
        """The run's directory."""
        return self.folder / self.name

    @property
    def order(self) -> Path:
        """The file that the run's batches are noted in."""
        return self.folder / f"{self.name}.order"

    @property
    def output(self) -> Path:
        """What all processes of the run have printed."""
        return self.folder / f"{self.name}.out"

    def start(self, **environment: str) -> BaseProcess:
        """Start training, or go on with it."""
        arguments = ["train", "trainer=cpu", *(CASES | RECIPES)[self.case].split(), *self.options]
        arguments.append(f"hydra.run.dir={self.name}")
        variables = {"CRASH_ORDER": str(self.order), **self.environment, **environment}
        return start(arguments, self.folder, variables, self.output)

    def until_batches(self, process: BaseProcess, before: int) -> None:
        """Wait until a process trains."""
        while process.is_alive() and self.num_batches() <= before:
            time.sleep(0.002)

    def num_batches(self) -> int:
        """Return how many batches were trained on so far, doubled ones too."""
        return len(self.order.read_bytes().splitlines()) if self.order.exists() else 0

    def kill_within(self, seconds: float) -> bool:
        """Start, kill at a random instant of so many seconds of training; return if it was."""
        before = self.num_batches()
        process = self.start()
        self.until_batches(process, before)
        time.sleep(random.uniform(0, seconds))
        process.kill()
        process.join()
        return process.exitcode == -9

    def finish(self) -> None:
        """Train to the end.

        Raises:
            RuntimeError: it ended with an error.
        """
        check_end(self.start(), self.output)

    def outcome(self) -> dict[str, Any]:
        """Return what it came to."""
        return outcome(self.run_dir, self.order)


class References:
    """What each case comes to if nothing breaks it off; trained when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, tuple[dict[str, Any], float]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, case: str) -> dict[str, Any]:
        return self._of(case)[0]

    def seconds(self, case: str) -> float:
        """Return how long the training of a case takes."""
        return self._of(case)[1]

    def _of(self, case: str) -> tuple[dict[str, Any], float]:
        with self._lock:
            if case not in self._found:
                self._found[case] = self._train(case)
            return self._found[case]

    def _train(self, case: str) -> tuple[dict[str, Any], float]:
        run = Run(self.folder, case, f"unbroken_{case}")
        process = run.start()
        run.until_batches(process, 0)
        start = time.monotonic()
        check_end(process, run.output)
        return run.outcome(), time.monotonic() - start

    def differences(self, run: Run) -> list[str]:
        """Return what a finished run has other than the unbroken one."""
        return differences(self[run.case], run.outcome())
