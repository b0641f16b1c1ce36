"""Schema of ``hydra.sweeper`` and ``hydra.launcher``: what a sweep and its launchers take."""

from dataclasses import dataclass
from typing import Any

from mnist_lab.config.knob import knob
from mnist_lab.data.sets import MAX_SEED

PACKAGE = "hydra_plugins.mnist_lab"  # by which configs name the lab's sweepers and launchers
STUDY = f"{PACKAGE}.StudySweeper"
RANGE_TEST = f"{PACKAGE}.RangeTest"
SAMPLERS = ("auto", "grid", "tpe", "random", "gp")
PLACES = (
    *("hydra.sweeper.storage", "hydra.sweeper.study_name"),
    *("hydra.launcher.parameters", "hydra.launcher.address"),
)
"""What names a place, an address or shell lines: it is typed each time, and never read from a file
of the sweep."""
HALVING, POPULATION = "synchronous_halving", "population"
WITH_RUNGS = (HALVING, POPULATION)  # for which all trials are handed out at once
PRUNERS = ("none", "median", "successive_halving", "hyperband", *WITH_RUNGS)
STACKS = ("auto", "always", "exact")
_DEFAULT_TRIALS = 20
_DEFAULT_BATCH = 16


@dataclass
class Settings:
    """A search by Optuna, or a grid."""

    _target_: str = STUDY
    # No dict by default: the command line could not add to it without a +, nor replace it.
    params: Any = knob(None, "keys, and what each is searched over")
    sampler: str = knob(
        "auto",
        "what picks the trials; auto is tpe where there is an interval, else grid",
        choices=SAMPLERS,
    )
    sampler_options: Any = knob(None, "arguments of Optuna's sampler, {n_startup_trials: 5}")
    pruner: str = knob(
        "none",
        "what ends bad trials early, by the monitored value of each epoch; population has them "
        "copy the best",
        choices=PRUNERS,
    )
    pruner_options: Any = knob(None, "arguments of the pruner, {min_resource: 1}")
    n_trials: int | None = knob(
        None,
        "trials of the whole study, also when it is resumed; null is 20, and a grid has its own",
        low=1,
    )
    batch_size: int | None = knob(
        None,
        "trials that the launcher gets at once; null is 1 for basic, else 16 or the whole grid",
        low=1,
    )
    objectives: Any = knob(None, "metrics besides the monitor, each with its mode")
    seed: int = knob(0, "what the sampler draws from", low=0, high=MAX_SEED)
    storage: str | None = knob(
        None, "database URL of Optuna's, or path of a journal; null is study.db in the sweep"
    )
    study_name: str | None = knob(None, "the study's name in a storage of your own")
    retry_failed: bool = knob(False, "whether trials that have failed are run once more")
    accept_changes: bool = knob(False, "whether a sweep is resumed although its config differs")

    @property
    def is_grid(self) -> bool:
        """Whether all combinations are run."""
        return self.sampler == "grid"

    def total(self, num_points: int) -> int:
        """Return how many trials the sweep has."""
        return num_points if self.is_grid else self.n_trials or _DEFAULT_TRIALS

    def at_once(self, total: int, launcher: str) -> int:
        """Return how many trials a launcher gets at once."""
        if self.pruner in WITH_RUNGS:
            return total
        default = total if self.is_grid else _DEFAULT_BATCH
        return self.batch_size or (1 if launcher.endswith(".BasicLauncher") else default)


@dataclass
class LearningRates:
    """A range test: a short training at each of many constant learning rates, and a suggestion."""

    _target_: str = RANGE_TEST
    low: float = knob(1e-5, "lowest learning rate", above=0)
    high: float = knob(10.0, "highest learning rate", above=0)
    rates: int = knob(64, "learning rates, evenly spaced in their logarithm", low=3, high=1000)
    seeds: int = knob(3, "trainings at each rate, with seed, seed + 1 and so on", low=1, high=1000)
    steps: int = knob(50, "optimizer steps of each training", low=5)
    max_stack: int | None = knob(
        None, "most trainings in a stack; null is by the size of the network, 8 to 512", low=1
    )


@dataclass
class Fused:
    """Trials of one network side by side, as one program."""

    _target_: str = f"{PACKAGE}.FusedLauncher"
    max_stack: int | None = knob(
        None,
        "most trials in a stack; null is by the size of the network and the device, up to 512",
        low=1,
    )
    stack: str = knob(
        "auto",
        "what is stacked besides MLPs and softmax regressions, by torch.func and so equal to lone "
        "runs up to rounding: auto is other models where they train faster, always is all that can "
        "be, exact is none",
        choices=STACKS,
    )


@dataclass
class Engine:
    """What all launchers take that hand trials to other processes."""

    fused: bool = knob(False, "whether a process trains its trials as one program")
    per_job: int | None = knob(
        None,
        "trials of a process; null is 1, for fused an equal share of them or 64 on a cluster",
        low=1,
    )


@dataclass
class Parallel(Engine):
    """Processes on this machine."""

    _target_: str = f"{PACKAGE}.ParallelLauncher"
    workers: int | None = knob(
        None, "processes at a time; null is one for each GPU, without one for each core", low=1
    )
    threads: int | None = knob(None, "of each process; null is an equal share of the cores", low=1)


@dataclass
class Slurm(Engine):
    """Jobs of SLURM."""

    _target_: str = f"{PACKAGE}.SlurmLauncher"
    parameters: Any = knob(
        None, "of Submitit's SlurmExecutor, {partition: gpu, time: 60, gpus_per_node: 1}"
    )


@dataclass
class Ray(Engine):
    """Tasks of a Ray cluster."""

    _target_: str = f"{PACKAGE}.RayLauncher"
    address: str | None = knob(None, "the cluster's; null is one that is started here")
    num_cpus: float = knob(1, "of each task", low=0)
    num_gpus: float = knob(0, "of each task", low=0)


LAUNCHERS: dict[str, type] = {"fused": Fused, "parallel": Parallel, "slurm": Slurm, "ray": Ray}
