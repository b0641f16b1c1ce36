"""The launcher behind ``hydra/launcher=fused``: groups trials of one network into stacks.

It composes the trials that a sweeper hands over and has those that fit together trained as one
stack. Trials that were stopped at the end of the same epoch are resumed as a stack; what cannot be
stacked runs one after the other, and a line says why.
"""

import contextlib
import functools
import itertools
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import run_job, setup_globals
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_lab.config.compose import Loader
from mnist_lab.config.hydra_internals import BasicLauncher, build, configure_log
from mnist_lab.config.resolve import reading
from mnist_lab.errors import LabError, StorageError, first_line
from mnist_lab.files.atomic import storage_errors
from mnist_lab.runs import manifest, signals
from mnist_lab.sweeps.trial import Trial, TrialTask
from mnist_lab.training.checkpoints.newest import newest
from mnist_lab.training.checkpoints.resume_state import read_snapshot
from mnist_lab.training.data_dimensions import follow_data
from mnist_lab.training.stacked.fit import reason_config_is_not_stacked
from mnist_lab.training.stacked.network import EXACT
from mnist_lab.training.stacked.stackable import stacking
from mnist_lab.training.stacked.train import train_stack
from mnist_lab.training.trainer import build_model, build_trainer

_log = logging.getLogger(__name__)
_OWN = {
    *("seed", "run_dir", "model.init", "model.dropout", "model.label_smoothing"),
    *("data.seed", "data.fold"),
    *("trainer.default_root_dir", "optimizer", "scheduler", "logger", "callbacks.phases"),
}
"""Keys, and groups of them, in which trials of one stack may differ."""
_LIGHTNING = "lightning.pytorch.callbacks"
_CALLBACKS = {
    "checkpoint": ["mnist_lab.training.Checkpoint"],
    "progress": [
        "mnist_lab.callbacks.Progress",
        f"{_LIGHTNING}.TQDMProgressBar",
        f"{_LIGHTNING}.RichProgressBar",
    ],
    "pictures": ["mnist_lab.callbacks.Pictures"],
    "early_stopping": [f"{_LIGHTNING}.EarlyStopping"],
    "phases": ["mnist_lab.training.Phases"],
}
"""Classes whose part a stack plays itself, by their places in a config."""


@dataclass
class Job:
    """A trial that a sweeper has handed over, by its number in the sweep, with its whole config."""

    number: int
    overrides: Sequence[str]
    config: DictConfig

    @property
    def run_dir(self) -> Path:
        """Its directory."""
        return Path(self.config.run_dir)

    @functools.cached_property
    def step(self) -> int | None:
        """The step that it is resumed after, 0 if it begins; None if that ends no epoch."""
        if manifest.is_finished(self.run_dir):
            return None
        try:
            checkpoint = newest(self.run_dir)
            snapshot = checkpoint and read_snapshot(*checkpoint)
        except LabError:  # which says more where the run is resumed alone
            return None
        if snapshot is None:
            return 0
        ends_epoch = snapshot.step > 0 and snapshot.batch == 0 and len(snapshot.ranks) == 1
        is_at_work = not snapshot.is_finished and not snapshot.goes_further
        return snapshot.step if ends_epoch and is_at_work else None


class FusedLauncher(BasicLauncher):
    """Trains the trials that fit together as one stack.

    Args:
        max_stack: most trials in a stack; more are trained stack by stack. None chooses by the
            size of the network.
        stack: which models are stacked, as ``stacking`` takes it.
    """

    def __init__(self, max_stack: int | None = None, stack: str = "auto") -> None:
        super().__init__()
        self.max_stack = max_stack
        self.stack = stack

    def launch_trials(self, numbers: Sequence[int], overrides: Sequence[Sequence[str]]) -> None:
        """Run trials; each leaves its result in its record."""
        setup_globals()
        jobs = [self._job(texts, number) for number, texts in zip(numbers, overrides, strict=True)]
        for group in _groups(jobs):
            reason, size = _stacking(group, self.stack)
            size = (self.max_stack or size) if reason is None else len(group)
            if reason is None:
                group.sort(key=_stream)  # so that a stack has few orders of batches
            for start in range(0, len(group), size):
                self._run(group[start : start + size], reason)

    def _run(self, jobs: list[Job], reason: str | None) -> None:
        """Train jobs as a stack, or one by one where there is a reason against that."""
        if reason is None and len(jobs) > 1:
            jobs, reason = self._train(jobs)
        if reason is not None and len(jobs) > 1:
            _log.warning("%d trials run one by one: %s", len(jobs), reason)
        for job in jobs:
            self.launch([job.overrides], job.number)

    def _job(self, overrides: Sequence[str], number: int) -> Job:
        """Compose a trial as Hydra does, with what Hydra leaves in its directory."""
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        assert isinstance(loader, Loader)
        launch = loader.launch(self.config, overrides, number)
        if launch is None or self.config.hydra.callbacks:
            return Job(number, overrides, self._config_of_job(overrides, number))
        for name, text in launch.files.items():
            path = launch.run_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Job(number, overrides, launch.config)

    def _config_of_job(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Return the config of a job of Hydra's own, which does nothing."""
        assert self.hydra_context is not None
        assert self.config is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num, config.hydra.job.id = number, str(number)
        done = run_job(
            hydra_context=self.hydra_context,
            task_function=lambda _: None,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config)
        assert done.hydra_cfg is not None
        assert done.cfg is not None
        with reading(done.hydra_cfg):
            OmegaConf.resolve(done.cfg)
        return done.cfg

    def _train(self, jobs: Sequence[Job]) -> tuple[list[Job], str | None]:
        """Train jobs as a stack; return those that an error has kept from their end, and the error.

        Only when they run alone does it show whose error it is.
        """
        assert isinstance(self.task_function, TrialTask)
        environment = manifest.environment()
        # SLURM is asked last, when the trials are saved and recorded.
        with signals.requeues(), contextlib.ExitStack() as stack, signals.signals_end_run():
            trials: list[Trial] = []
            try:
                for job in jobs:
                    opened = self.task_function.opened(job.number, job.run_dir)
                    trials.append(stack.enter_context(opened))
                with contextlib.ExitStack() as held:
                    for job in jobs:
                        held.enter_context(storage_errors(job.run_dir))
                    train_stack(
                        [job.config for job in jobs],
                        trials,
                        environment,
                        self.task_function.sweep.folder,
                        ending=self.task_function.study.settling_at_once(),
                    )
            except StorageError:  # which they would meet alone as well
                raise
            except Exception as error:
                ended = [trial.record.is_final for trial in trials]
                pairs = itertools.zip_longest(jobs, ended)  # not all may have been opened
                left = [job for job, has_ended in pairs if not has_ended]
                return left, f"their stack could not be trained: {first_line(error)}"
        return [], None


def _groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs whose configs agree in all but what trials of a stack may differ in."""
    groups: dict[Hashable, list[Job]] = {}
    for job in jobs:
        flat = manifest.flat(OmegaConf.to_container(job.config))
        shared = tuple(
            (name, str(value))
            for name, value in sorted(flat.items())
            if not any(f"{name}.".startswith(f"{own}.") for own in _OWN)
        )
        key = shared, str(job.config.optimizer.get("name")), job.step, _dropout(job.config)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def _stream(job: Job) -> tuple[int, int]:
    return job.config.data.seed, job.config.data.get("fold") or 0


def _dropout(config: DictConfig) -> Hashable:
    """Return the dropout in which trials agree that torch.func stacks."""
    if get_class(str(config.model._target_)) in EXACT:
        return None
    phases = OmegaConf.select(config, "callbacks.phases.phases") or []
    rates = [(phase.get("epoch"), phase.get("model.dropout")) for phase in phases]
    return str(config.model.get("dropout")), *(pair for pair in rates if pair[1] is not None)


def _stacking(group: Sequence[Job], stack: str) -> tuple[str | None, int]:
    """Return in one line why jobs are not stacked, None if they are, and the size of a stack."""
    reason = _reason_in_config(group[0])
    if reason is not None:
        return reason, 1
    try:
        config = follow_data(group[0].config, build(group[0].config.data))
        model = build_model(config)
        trainer = build_trainer(config, model, validates=True)
    except LabError as error:  # which is each trial's own where it runs alone
        return first_line(error), 1
    return stacking(model, trainer, config.data.batch_size, stack)


def _reason_in_config(job: Job) -> str | None:
    config = job.config
    if job.step is None:
        return "they were stopped within an epoch, or after the last"
    for name, node in (config.callbacks or {}).items():
        if name not in _CALLBACKS:
            return f"callbacks.{name} is not stacked"
        if get_class(node._target_) not in map(get_class, _CALLBACKS[name]):
            return f"callbacks.{name}._target_={node._target_} is not stacked"
    if config.get("metrics"):
        return "metrics= is not stacked"
    if config.get("init_from"):
        return "init_from is not stacked"
    return reason_config_is_not_stacked(config)
