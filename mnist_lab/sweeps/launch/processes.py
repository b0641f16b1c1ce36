"""Launchers that run trials in other processes: ``hydra/launcher=parallel``, ``slurm``, ``ray``.

The result of a trial is in its record, whichever process runs it, and the sweep retries a trial
whose process died; so a launcher only starts jobs and waits for them.
"""

import contextlib
import logging
import os
import signal
import tempfile
import time
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from mnist_lab.config.allowlist import importing
from mnist_lab.config.compose import Loader
from mnist_lab.config.hydra_internals import BasicLauncher
from mnist_lab.config.sources import register
from mnist_lab.errors import ConfigError, first_line
from mnist_lab.files.atomic import write_errors
from mnist_lab.runs import signals
from mnist_lab.runs.directory import JOBS, LOCK, hold, is_held
from mnist_lab.sweeps.records import Ledger
from mnist_lab.training.cores import usable_cores

if TYPE_CHECKING:
    from mnist_lab.sweeps.trial import TrialTask

_log = logging.getLogger(__name__)
_LOOK = 0.1  # seconds between two looks at the jobs
_PATIENCE = 30  # seconds that processes have to save and to end
_DEFAULT_STACK = 64  # trials in a fused job of a cluster
_A_YEAR = 365 * 24 * 60  # minutes


@dataclass(frozen=True)
class Job:
    """Trials that one process runs, in a form that can be pickled.

    Args:
        context: composes.
        task: what is called with each trial's config.
        config: of the sweep.
        overrides: of each trial.
        numbers: of the trials.
        fused: whether they are trained as one program.
        threads: that the process computes with; None is torch's choice.
        gpu: that the process computes on, as ``CUDA_VISIBLE_DEVICES`` names it; None is no other
            than it sees.
        starter: lock that the process that started the job holds; None lets the job outlive it.
    """

    context: HydraContext
    task: "TrialTask"
    config: DictConfig
    overrides: Sequence[Sequence[str]]
    numbers: Sequence[int]
    fused: bool
    threads: int | None = None
    gpu: str | None = None
    starter: Path | None = None

    def __call__(self) -> None:
        """Run the trials."""
        if (starter := self.starter) is not None:
            signals.end_when(lambda: not is_held(starter), _PATIENCE)
        if self.threads is not None:  # torch, which reads it once, is not imported yet
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
        if self.gpu is not None:  # which Submitit takes by its number alone
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        register()
        context, task, config = self.context, self.task, self.config
        if self.fused:
            from mnist_lab.sweeps.launch.fused import FusedLauncher

            fused = FusedLauncher()
            fused.setup(hydra_context=context, task_function=task, config=config)
            fused.launch_trials(self.numbers, self.overrides)
        else:
            basic = BasicLauncher()
            basic.setup(hydra_context=context, task_function=task, config=config)
            for number, overrides in zip(self.numbers, self.overrides, strict=True):
                basic.launch([overrides], number)
        if self.task.stopped_by is not None:  # so that no other job starts
            raise self.task.stopped_by

    @property
    def ledger(self) -> Ledger:
        """The records of its sweep."""
        return Ledger(self.task.sweep.folder)

    @property
    def name(self) -> str:
        """Its trials, as a line about it names them."""
        first, last = self.numbers[0], self.numbers[-1]
        return f"trial {first}" if last == first else f"trials {first} to {last}"


class Engine(BasicLauncher):
    """Distributes trials to processes, and waits for them.

    Args:
        fused: whether a process trains its trials as one program.
        per_job: trials of a process; None is 1, or ``stack_size`` for ``fused``.
    """

    def __init__(self, fused: bool = False, per_job: int | None = None) -> None:
        super().__init__()
        self.fused = fused
        self.per_job = per_job

    def launch_trials(self, numbers: Sequence[int], overrides: Sequence[Sequence[str]]) -> None:
        """Run trials; the result of each is in its record.

        Raises:
            StorageError: something cannot be written; the jobs that run are ended.
        """
        size = self.per_job or (self.stack_size(len(overrides)) if self.fused else 1)
        jobs = [
            self._job(overrides[start : start + size], numbers[start : start + size])
            for start in range(0, len(overrides), size)
        ]
        # So that the processes are stopped as well.
        with signals.signals_end_run(), contextlib.closing(self.run(jobs)) as ended_early:
            for job, error in ended_early:
                job.ledger.check_storage(job.numbers)
                _log.warning("%s: the process ended early: %s", job.name, error)

    def _job(self, overrides: Sequence[Sequence[str]], numbers: Sequence[int]) -> Job:
        task: Any = self.task_function
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        assert isinstance(loader, Loader)
        context = replace(self.hydra_context, config_loader=loader.only(self.config, overrides))
        return Job(context, task, self.config, list(map(list, overrides)), numbers, self.fused)

    def stack_size(self, num_trials: int) -> int:
        """Return the default number of trials that a process trains as one program."""
        return _DEFAULT_STACK

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str], None, None]:
        """Run jobs, and yield those whose process ended early, with the reason in a line."""

    def _new_folder(self) -> Path:
        """Return a folder that nothing was in before, since what is in it is unpickled."""
        assert self.config is not None
        logs = Path(str(self.config.hydra.sweep.dir)).absolute() / JOBS
        with write_errors(logs):
            logs.mkdir(exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{datetime.now():%Y-%m-%d_%H-%M-%S}_", dir=logs))


class ParallelLauncher(Engine):
    """Runs trials in processes of this machine, by Submitit's local executor.

    Args:
        workers: processes at a time; None is one for each GPU, without one for each core.
        threads: of each process; None is an equal share of the cores.
        options: of ``Engine``.
    """

    def __init__(
        self, workers: int | None = None, threads: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._gpus = _visible_gpus()
        cores = usable_cores()
        self.workers = workers or len(self._gpus) or cores
        self.threads = threads or max(1, cores // self.workers)

    def stack_size(self, num_trials: int) -> int:
        """Return an equal share for each process."""
        return -(-num_trials // self.workers)

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str], None, None]:
        """Run ``workers`` jobs at a time; each has a GPU of its own where there are enough."""
        import submitit

        folder = self._new_folder()
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(timeout_min=_A_YEAR)
        waiting = [replace(job, threads=self.threads, starter=folder / LOCK) for job in jobs]
        free = list(range(self.workers))
        running: dict[int, tuple[Job, Any]] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold(folder / LOCK, folder))
            stack.callback(lambda: _end([submitted for _, submitted in running.values()]))
            while waiting or running:
                while waiting and free:
                    worker = free.pop(0)
                    gpu = self._gpus[worker % len(self._gpus)] if self._gpus else None
                    job = replace(waiting.pop(0), gpu=gpu)
                    running[worker] = job, executor.submit(job)
                time.sleep(_LOOK)
                for worker, (job, submitted) in list(running.items()):
                    if submitted.done():
                        del running[worker]
                        free.append(worker)
                        yield from _ended(job, submitted)


def _end(jobs: Sequence[Any]) -> None:
    """Stop Submitit's jobs on this machine, which first have time to save."""
    for job in jobs:
        if not job.done():  # until which nothing else has its number
            os.kill(int(job.job_id), signal.SIGTERM)  # cancel() kills a second after its SIGINT
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience and not all(job.done() for job in jobs):
        time.sleep(_LOOK)
    for job in jobs:
        if not job.done():
            job.cancel()
        job.wait()


class SlurmLauncher(Engine):
    """Runs trials as jobs of SLURM, by Submitit.

    Args:
        parameters: of ``submitit.SlurmExecutor.update_parameters``: ``partition``, ``time`` in
            minutes, ``gpus_per_node``, ``cpus_per_task``, ``mem``, ``setup``, …
        options: of ``Engine``.
    """

    def __init__(self, parameters: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.parameters = dict(parameters or {})

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str], None, None]:
        """Submit all jobs as one array; SLURM decides how many run at a time."""
        import submitit

        # Sent by SLURM before the time limit; the run then saves and is requeued.
        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
        try:
            executor = submitit.SlurmExecutor(self._new_folder())
            executor.update_parameters(**self.parameters)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"hydra.launcher.parameters: {first_line(error)}") from error
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
        try:
            for job, slurm_job in zip(jobs, submitted, strict=True):
                slurm_job.wait()
                yield from _ended(job, slurm_job)
        except BaseException:
            for slurm_job in submitted:
                slurm_job.cancel(check=False)
            raise


class RayLauncher(Engine):
    """Runs trials as tasks of a Ray cluster.

    Args:
        address: the cluster's; None is one that is started here.
        num_cpus: of each task.
        num_gpus: of each task.
        options: of ``Engine``.
    """

    def __init__(
        self,
        address: str | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str], None, None]:
        """Submit all jobs; Ray decides how many run at a time."""
        import ray

        if not ray.is_initialized():
            ray.init(
                address=self.address,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        remote = ray.remote(max_retries=0, num_cpus=self.num_cpus, num_gpus=self.num_gpus)
        task = remote(Job.__call__)
        tasks = {task.remote(job): job for job in jobs}
        try:
            while tasks:
                (done, *_), _ = ray.wait(list(tasks))
                job = tasks.pop(done)
                try:
                    ray.get(done)
                except ray.exceptions.RayError as error:
                    yield job, first_line(error)
        finally:
            for reference in tasks:
                ray.cancel(reference)


def _ended(job: Job, submitted: Any) -> Iterator[tuple[Job, str]]:
    """Yield a Submitit job if it ended early, and delete its pickles; its logs stay."""
    error = submitted.exception()
    if error is not None:
        yield job, first_line(error)
    for path in (submitted.paths.submitted_pickle, submitted.paths.result_pickle):
        path.unlink(missing_ok=True)


def _visible_gpus() -> list[str]:
    """Return the GPUs that trials may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    with importing():
        import torch

    count = torch.cuda.device_count()  # which leaves out the names after a wrong one, as CUDA does
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if given is None else map(str.strip, given.split(","))
    return list(names)[:count]
