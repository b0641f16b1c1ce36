"""Sweeper behind ``hydra/sweeper=study``: a search by Optuna, or a grid."""

import contextlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from mnist_lab.config.cross_validation import FOLD
from mnist_lab.config.jobs import arguments_taken
from mnist_lab.config.sweep_schema import WITH_RUNGS
from mnist_lab.errors import ConfigError, LabError, first_line
from mnist_lab.files.atomic import storage_errors
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.exclusive import check_unused
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.summary import counted
from mnist_lab.sweeps.best_recipe import write_best
from mnist_lab.sweeps.compose import ConfigSweeper, checked_trials
from mnist_lab.sweeps.inheritance import overrides
from mnist_lab.sweeps.opening import checked_study, opened
from mnist_lab.sweeps.progress import Display
from mnist_lab.sweeps.records import Ledger, Record
from mnist_lab.sweeps.request import Request, read_command
from mnist_lab.sweeps.results import TrialTable
from mnist_lab.sweeps.trial import Sweep, TrialTask

if TYPE_CHECKING:
    from mnist_lab.sweeps.queue import Search
    from mnist_lab.sweeps.study import Study

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep.

    Args:
        sweep_dir: the sweep's directory.
        trials: all of them, the best first.
        command: what trains the best trial again; None if there is none.
    """

    sweep_dir: Path
    trials: TrialTable
    command: str | None

    @property
    def failed(self) -> list[Record]:
        """The trials that have failed, in this process or in another, by number."""
        failed = [record for record in self.trials.records if record.state == RunState.FAILED]
        return sorted(failed, key=lambda record: record.number)


class StudySweeper(ConfigSweeper):
    """Runs the trials of a study with the launcher of the config.

    Args:
        build_launcher: builds the launcher; None has Hydra build it.
    """

    def __init__(self, build_launcher: Callable[[], Launcher] | None = None) -> None:
        super().__init__()
        self._build_launcher = build_launcher

    def sweep(self, arguments: list[str]) -> Outcome:
        """Check everything, then run trials until there are enough.

        Raises:
            LabError: something that the user can mend is wrong; no trial has started.
        """
        folders: Any = OmegaConf.to_container(self._config.hydra.sweep, resolve=False)
        subdir = str(folders["subdir"])
        if "${" not in subdir:
            raise ConfigError(
                f"hydra.sweep.subdir={subdir}: must be another folder for each trial, as "
                "trial_${hydra.job.num}"
            )
        request = read_command(self._config, arguments, self._loader)
        launcher = self._launcher()  # refuses its settings before anything is written
        ledger = Ledger(Path(str(self._config.hydra.sweep.dir)).absolute())
        ledger.check_free()
        with contextlib.closing(opened(request, ledger)) as study:
            home = checked_study(study, ledger.sweep_dir, request)
            self._run(request, study, ledger, home, launcher)
            others = study.elsewhere(home, list(request.objectives))
        return self._concluded(request, ledger, others)

    def _run(
        self, request: Request, study: "Study", ledger: Ledger, home: str, launcher: Launcher
    ) -> None:
        from mnist_lab.sweeps.queue import Search

        sweep = Sweep(ledger.sweep_dir, study.address, tuple(request.objectives))
        task = TrialTask(self._task, sweep, study)
        launcher.setup(hydra_context=self._context, task_function=task, config=self._config)
        size = request.settings.at_once(request.total, str(self._config.hydra.launcher._target_))
        self._say_more_trials(request, study, ledger, size)
        if request.settings.pruner in WITH_RUNGS:
            check_unused(ledger.sweep_dir)  # since it has to know of all trials how far they are
        display = Display(ledger, request.total, request.objectives)
        with ledger.owner() as owner:
            task.owner = owner
            search = Search(
                study, ledger, request.settings, request.space, owner, home, request.total
            )
            with _says_how_to_resume(ledger, request.total), display:
                while batch := search.next_batch(size):
                    if not request.settings.is_grid:
                        batch = [
                            record
                            for record in batch
                            if record.report or self._is_right(record, request, search)
                        ]
                    _launch(launcher, batch, request.space.fixed, ledger)
                    if task.stopped_by is not None:
                        raise task.stopped_by
                    ledger.check_storage(record.number for record in batch)

    def _say_more_trials(self, request: Request, study: "Study", ledger: Ledger, size: int) -> None:
        """Say how far more trials than before are those that a longer sweep would have had."""
        done = [record for record in ledger if record.is_final]
        more = request.total - len(study.trials())
        if request.settings.is_grid or not done or len(done) < len(study.trials()) or more <= 0:
            return
        is_same = size == 1 or request.settings.sampler == "random"
        _log.warning(
            "%s: %s more than before: %s",
            display_path(ledger.sweep_dir),
            counted(more, "trial"),
            "as in a sweep that had as many from the start"
            if is_same
            else "drawn with the results of all before, which are not known in the midst of a "
            "round of hydra.sweeper.batch_size, and so perhaps not as in a longer sweep",
        )

    def _is_right(self, record: Record, request: Request, search: "Search") -> bool:
        """Check a trial's config, as values may be searched that do not go together."""
        overrides = _overrides(record, request.space.fixed)
        try:
            list(checked_trials(self._loader, self._config, [(record.number, overrides)]))
        except LabError as error:
            search.fail(record, str(error))
            return False
        return True

    def _concluded(self, request: Request, ledger: Ledger, others: Sequence[Record]) -> Outcome:
        command = None
        with ledger.locked():  # other processes may conclude as well
            trials = TrialTable([*ledger, *others], request.objectives)
            trials.write(ledger.sweep_dir)
            if trials.best is not None and FOLD not in trials.best.params:  # no fold is a setting
                try:
                    command = self._write_best(request, ledger, trials.best, trials.best_text())
                except LabError:
                    raise
                except Exception as error:  # the sweep's result is more than its recipe
                    _log.error("experiment/best.yaml: %s", first_line(error), exc_info=error)
        return Outcome(ledger.sweep_dir, trials, command)

    def _write_best(self, request: Request, ledger: Ledger, best: Record, text: str) -> str:
        request.space.check(best.params)  # another directory may have added it to the study since
        config = self._loader.load_sweep_config(self._config, _overrides(best, request.space.fixed))
        return write_best(ledger.sweep_dir, best, self._loader, config, text)

    def _launcher(self) -> Launcher:
        # It announces each launch, as the display does.
        logging.getLogger("hydra._internal.core_plugins.basic_launcher").setLevel(logging.WARNING)
        if self._build_launcher is not None:
            return self._build_launcher()
        with arguments_taken():  # it is set up once more, with the study's task
            return Plugins.instance().instantiate_launcher(
                hydra_context=self._context, task_function=self._task, config=self._config
            )


@contextlib.contextmanager
def _says_how_to_resume(ledger: Ledger, total: int) -> Iterator[None]:
    """Print how to resume the sweep if it is stopped."""
    try:
        yield
    except BaseException:
        done = sum(record.is_final for record in ledger)
        print(
            f"mnist-lab train: stopped with {done} of {counted(total, 'trial')} done; resume with "
            f"the same command and hydra.sweep.dir={display_path(ledger.sweep_dir)}",
            file=sys.stderr,
        )
        raise


def _overrides(record: Record, fixed: Sequence[str]) -> list[str]:
    return [*fixed, *overrides(record)]


def _launch(
    launcher: Launcher, batch: Sequence[Record], fixed: Sequence[str], ledger: Ledger
) -> None:
    """Run trials; launchers with Hydra's call alone, which number jobs, get adjoining ones."""
    if hasattr(launcher, "launch_trials"):  # one of the lab's, which takes trials of any numbers
        numbers = [record.number for record in batch]
        with storage_errors(ledger.sweep_dir):
            launcher.launch_trials(numbers, [_overrides(record, fixed) for record in batch])
        return
    for _, group in itertools.groupby(enumerate(batch), lambda pair: pair[1].number - pair[0]):
        records = [record for _, record in group]
        overrides = [_overrides(record, fixed) for record in records]
        try:
            with storage_errors(ledger.sweep_dir):
                launcher.launch(overrides, initial_job_idx=records[0].number)
        except LabError:  # of the launcher itself
            raise
        except Exception as error:  # the result of each trial is in its record
            _log.error("%s: %s", type(launcher).__name__, first_line(error), exc_info=error)
