"""Sweeper behind ``hydra/sweeper=study``: a search by Optuna, or a grid."""

import contextlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.config.cross_validation import FOLD
from mnist_lab.config.field import shown as shown_value
from mnist_lab.config.sweep_schema import HALVING, Settings
from mnist_lab.errors import ConfigError, LabError, first_line
from mnist_lab.runs.directory import MANIFEST, display_path
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps import manifest
from mnist_lab.sweeps.best_recipe import write_best
from mnist_lab.sweeps.compose import checked_trials
from mnist_lab.sweeps.launch.numbered import NumberedLauncher
from mnist_lab.sweeps.progress import Display
from mnist_lab.sweeps.records import Ledger, Record
from mnist_lab.sweeps.request import Request, read_command
from mnist_lab.sweeps.results import Leaderboard
from mnist_lab.sweeps.space import overrides_of
from mnist_lab.sweeps.trial import Sweep, TrialTask

if TYPE_CHECKING:
    from mnist_lab.sweeps.queue import Search
    from mnist_lab.sweeps.study import Address, Direction, Study

_log = logging.getLogger(__name__)
_DIRECTIONS: dict[str, "Direction"] = {"max": "maximize", "min": "minimize"}


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep.

    Args:
        sweep_dir: the sweep's directory.
        board: all trials, the best first.
        command: what trains the best trial again; None if there is none.
    """

    sweep_dir: Path
    board: Leaderboard
    command: str | None

    @property
    def failed(self) -> list[Record]:
        """The trials that have failed, in this process or in another, by number."""
        failed = [record for record in self.board.records if record.state == RunState.FAILED]
        return sorted(failed, key=lambda record: record.number)


class StudySweeper(Sweeper):
    """Runs the trials of a study with the launcher of the config.

    Args:
        options: of ``Settings``; they are read from the config.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: Callable[[DictConfig], Any],
        config: DictConfig,
    ) -> None:
        """Store Hydra's arguments."""
        self._context, self._task, self._config = hydra_context, task_function, config

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
        ledger = Ledger(Path(str(self._config.hydra.sweep.dir)).absolute())
        ledger.check_free()
        with contextlib.closing(_opened(request, ledger)) as study:
            home = _checked_study(study, ledger.sweep_dir, request)
            self._run(request, study, ledger, home)
            others = study.elsewhere(home)
        return self._concluded(request, ledger, others)

    def _run(self, request: Request, study: "Study", ledger: Ledger, home: str) -> None:
        from mnist_lab.sweeps.queue import Search

        sweep = Sweep(ledger.sweep_dir, study.address, tuple(request.objectives))
        launcher = self._launcher(TrialTask(self._task, sweep, study))
        size = request.settings.at_once(request.total, str(self._config.hydra.launcher._target_))
        self._say_more_trials(request, study, ledger, size)
        if request.settings.pruner == HALVING:
            ledger.check_alone()  # since it has to know of all trials how far they are
        display = Display(ledger, request.total, request.objectives)
        with ledger.owner() as owner:
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
                    _launch(launcher, batch, request.space.fixed)

    def _say_more_trials(self, request: Request, study: "Study", ledger: Ledger, size: int) -> None:
        """Say how far more trials than before are those that a longer sweep would have had."""
        done = [record for record in ledger if record.is_final]
        more = request.total - len(study.trials())
        if request.settings.is_grid or not done or len(done) < len(study.trials()) or more <= 0:
            return
        is_same = size == 1 or request.settings.sampler == "random"
        _log.warning(
            "%s: %s trials more than before: %s",
            display_path(ledger.sweep_dir),
            more,
            "those of a sweep that had as many from the start"
            if is_same
            else "they know the results of all before, as they would not in the midst of a round "
            "of hydra.sweeper.batch_size, and may differ from a longer sweep's",
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
            board = Leaderboard([*ledger, *others], request.objectives)
            board.write(ledger.sweep_dir)
            if board.best is not None and FOLD not in board.best.params:  # no fold is a setting
                overrides = _overrides(board.best, request.space.fixed)
                config = self._loader.load_sweep_config(self._config, overrides)
                command = write_best(
                    ledger.sweep_dir, board.best, self._loader, config, board.best_text()
                )
        return Outcome(ledger.sweep_dir, board, command)

    @property
    def _loader(self) -> Loader:
        loader = self._context.config_loader
        assert isinstance(loader, Loader)
        return loader

    def _launcher(self, task: TrialTask) -> Launcher:
        # It announces each launch, as the display does.
        logging.getLogger("hydra._internal.core_plugins.basic_launcher").setLevel(logging.WARNING)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=task, config=self._config
        )


def _opened(request: Request, ledger: Ledger) -> "Study":
    """Open a sweep's directory and its study; both may exist."""
    # Optuna takes 0.15 s to import, which a wrong config need not wait for.
    from mnist_lab.sweeps.queue import check_options
    from mnist_lab.sweeps.storage import check_database
    from mnist_lab.sweeps.study import Study

    folder = ledger.sweep_dir
    address = _address(folder, request.settings, request.objectives)
    check_database(folder)
    check_options(request.settings, address, request.space)
    _content(folder, request)  # before anything is written
    try:
        with ledger.locked():
            ledger.remove_partials()
            before = manifest.read_plan(folder)  # another process may have been faster
            content = _content(folder, request)
            study = Study(address)
            if study.identity is not None and request.widened(study.identity) != study.identity:
                study = _widened(study, request, ledger)
            if changes := manifest.changes(before or content, request.plan):
                _log.warning("%s: was begun with %s", display_path(folder), "; ".join(changes))
            if content != before:
                manifest.write_plan(folder, content)
            return study
    except LabError:
        ledger.drop_empty()
        raise


def _widened(study: "Study", request: Request, ledger: Ledger) -> "Study":
    """Give a study a wider space, and say how far the result is that of one that began with it."""
    place, before = display_path(ledger.sweep_dir), study.identity or {}
    with contextlib.ExitStack() as stack:
        stack.callback(study.close)
        ledger.check_alone()
        identity = request.widened(before)
        manifest.check_same(
            place, identity, request.plan.identity(), request.settings.accept_changes
        )
        told = (
            "with the new points it is the whole grid"
            if request.settings.is_grid
            else "a sweep that begins with this space would draw others in their place"
        )
        changed = [
            f"{text} instead of {before['space'][key]}"
            for key, text in identity["space"].items()
            if text != before["space"][key]
        ]
        _log.warning(
            "%s: goes further, %s: its %s trials stay, and %s",
            place,
            "; ".join(changed),
            len(study.trials()),
            told,
        )
        return study.widened(ledger.sweep_dir, request.space.distributions(), identity)


def _content(folder: Path, request: Request) -> dict[str, Any]:
    """Return what ``sweep.json`` has to be, with what the directory's own says already."""
    # Looked for first: another process that begins the sweep writes its file before it runs any.
    has_runs = any(folder.glob(f"*/{MANIFEST}")) or (folder / MANIFEST).exists()
    before, place = manifest.read_plan(folder), display_path(folder)
    if before is None:
        if has_runs:
            raise ConfigError(
                f"{place}: holds runs that are of no sweep; choose another hydra.sweep.dir"
            )
        return request.plan.content()
    manifest.check_same(
        place,
        request.widened(before),
        request.plan.identity(),
        request.settings.accept_changes,
    )
    for name, value in request.plan.study.items():
        if before["study"].get(name) != value:
            raise ConfigError(
                f"hydra.sweeper.{name}={shown_value(value)}: must be "
                f"{shown_value(before['study'].get(name))} as when {place} was begun"
            )
    return replace(request.plan, home=before["home"]).content()


def _address(folder: Path, settings: Settings, objectives: Mapping[str, str]) -> "Address":
    from mnist_lab.sweeps.storage import default_storage
    from mnist_lab.sweeps.study import Address

    storage = settings.storage or default_storage(folder)
    return Address(
        storage=storage if "://" in storage else str(Path(storage).absolute()),
        name=settings.study_name or "sweep",
        directions=tuple(_DIRECTIONS[mode] for mode in objectives.values()),
        pruner=settings.pruner,
        pruner_options=settings.pruner_options,
    )


def _checked_study(study: "Study", folder: Path, request: Request) -> str:
    """Check that a study belongs to this sweep, and return the name of this directory in it."""
    content = manifest.read_plan(folder)
    assert content is not None
    identity = manifest.identity_of(content)
    place = f"{study.address.name} in {study.address.storage}"
    has_trials = bool(study.trials())  # before the identity, which another process writes first
    if study.identity is None and has_trials:
        raise ConfigError(
            f"{place}: contains an Optuna study that mnist_lab did not create; choose another"
        )
    if study.identity is not None:
        named_by = (
            "hydra.sweep.dir" if request.settings.storage is None else "hydra.sweeper.study_name"
        )
        manifest.check_same(
            place, study.identity, identity, request.settings.accept_changes, named_by
        )
    if study.identity != identity:
        study.set_identity(identity)
    study.check()
    return str(content["home"])


@contextlib.contextmanager
def _says_how_to_resume(ledger: Ledger, total: int) -> Iterator[None]:
    """Print how to resume the sweep if it is stopped."""
    try:
        yield
    except BaseException:
        done = sum(record.is_final for record in ledger)
        print(
            f"mnist-lab train: stopped with {done} of {total} trials done; resume with the same "
            f"command and hydra.sweep.dir={display_path(ledger.sweep_dir)}",
            file=sys.stderr,
        )
        raise


def _overrides(record: Record, fixed: Sequence[str]) -> list[str]:
    return [*fixed, *overrides_of(record.params)]


def _launch(launcher: Launcher, batch: Sequence[Record], fixed: Sequence[str]) -> None:
    """Run trials; Hydra's own launchers, which number their jobs, get adjoining ones at once."""
    if isinstance(launcher, NumberedLauncher):
        launcher.launch_trials(
            [record.number for record in batch], [_overrides(record, fixed) for record in batch]
        )
        return
    for _, group in itertools.groupby(enumerate(batch), lambda pair: pair[1].number - pair[0]):
        records = [record for _, record in group]
        overrides = [_overrides(record, fixed) for record in records]
        try:
            launcher.launch(overrides, initial_job_idx=records[0].number)
        except LabError:  # of the launcher itself
            raise
        except Exception as error:  # the result of each trial is in its record
            _log.error("%s: %s", type(launcher).__name__, first_line(error), exc_info=error)
