"""The sweeper that Hydra finds under ``hydra/sweeper=study``: a search of Optuna's, or a grid."""

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
from omegaconf import DictConfig

from mnist_lab.config import Loader, resolved
from mnist_lab.errors import ConfigError, LabError, first_line
from mnist_lab.knobs import shown as shown_value
from mnist_lab.runs import MANIFEST, has_launcher
from mnist_lab.sweeps import plan
from mnist_lab.sweeps.best import write_best
from mnist_lab.sweeps.display import Display
from mnist_lab.sweeps.leaderboard import Leaderboard
from mnist_lab.sweeps.ledger import FAILED, RUNNING, Ledger, Record
from mnist_lab.sweeps.points import Points
from mnist_lab.sweeps.settings import (
    Settings,
    check_settings,
    objectives_of,
    read_settings,
    search_of,
)
from mnist_lab.sweeps.space import Space, overrides_of, parse_space
from mnist_lab.sweeps.trial import Sweep, TrialTask
from mnist_lab.tables import shown
from mnist_lab.targets import TARGETS

if TYPE_CHECKING:
    from mnist_lab.sweeps.search import Search
    from mnist_lab.sweeps.study import Address, Direction, Study

_log = logging.getLogger(__name__)
_PROBED = 64  # most points of a search space that are checked before the first trial
_DIRECTIONS: dict[str, "Direction"] = {"max": "maximize", "min": "minimize"}


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Args:
        failed: the trials that have failed, in this process or in one before.
    """

    failed: list[Record]


class StudySweeper(Sweeper):
    """Runs the trials that a study asks for, by the launcher that was chosen.

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
        """Keep what Hydra hands over."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Outcome:
        """Check everything, then run trials until there are enough.

        Raises:
            LabError: something that the user can mend is wrong; no trial has started.
        """
        loader = self._context.config_loader
        assert isinstance(loader, Loader)
        _check_alone()
        settings, space = _read(self._config, arguments, loader)
        points = Points(loader, self._config, space.fixed)
        probes = space.grid() if settings.is_grid else list(space.probes(_PROBED))
        first = points.check(overrides_of(point) for point in probes)
        assert first is not None
        objectives = objectives_of(settings, first, is_own=first.model._target_ not in TARGETS)
        folder = Path(str(self._config.hydra.sweep.dir)).absolute()
        ledger = Ledger(folder)
        total = settings.total(len(probes))
        # Optuna takes 0.15 s to import, which a wrong config need not wait for.
        from mnist_lab.sweeps.search import Search, build_sampler
        from mnist_lab.sweeps.study import Study, build_pruner

        address = _address(folder, settings, objectives)
        build_pruner(address)
        if not settings.is_grid:
            build_sampler(settings, 0)
        with ledger.locked():
            content = _open_folder(folder, self._plan(settings, space, objectives), settings)
            study = Study(address)
        sweep = Sweep(folder, address, tuple(objectives))
        launcher = self._launcher(TrialTask(self._task, sweep, study))
        size = settings.at_once(total, str(self._config.hydra.launcher._target_))
        try:
            _check_study(study, content, settings)
            with ledger.owner() as owner:
                home = content["home"]
                search = Search(study, ledger, settings, space, owner, home, total)
                with _told_how_to_go_on(ledger, total), Display(ledger, total, objectives):
                    while batch := search.next_batch(size):
                        if not settings.is_grid:
                            batch = list(_checked(batch, points, search))
                        _launch(launcher, batch, space.fixed)
            others = study.elsewhere(content["home"])
        finally:
            study.close()
        return self._conclude(ledger, others, objectives, space, loader)

    def _plan(self, settings: Settings, space: Space, objectives: Mapping[str, str]) -> plan.Plan:
        varied = {one.key: one.text for one in space.dimensions}
        hydra = self._config.hydra
        overrides = [str(one) for one in (*hydra.overrides.task, *hydra.overrides.hydra)]
        folders = [
            one.path for one in hydra.runtime.config_sources if one.provider == "command-line"
        ]
        return plan.Plan(
            space=varied,
            search=search_of(settings, objectives),
            config=plan.flat_config(resolved(self._config), varied),
            overrides=[one for one in overrides if not one.startswith("hydra.mode=")],
            config_dir=folders[0] if folders else None,
            study={"storage": settings.storage, "study_name": settings.study_name},
        )

    def _launcher(self, task: TrialTask) -> Launcher:
        # It announces each launch, as the display does.
        logging.getLogger("hydra._internal.core_plugins.basic_launcher").setLevel(logging.WARNING)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=task, config=self._config
        )

    def _conclude(
        self,
        ledger: Ledger,
        others: Sequence[Record],
        objectives: Mapping[str, str],
        space: Space,
        loader: Loader,
    ) -> Outcome:
        """Write and print what the sweep came to."""
        command = None
        with ledger.locked():  # others may conclude as well
            records = [*ledger, *others]
            board = Leaderboard(records, objectives)
            board.write(ledger.sweep_dir)
            if board.best is not None and board.best.values is not None:
                value = f"{next(iter(objectives))}={board.best.values[0]:.4f}"
                overrides = [*space.fixed, *overrides_of(board.best.params)]
                command = write_best(ledger.sweep_dir, board.best, loader, overrides, value)
        board.print(shown(ledger.sweep_dir), command)
        if elsewhere := sum(record.state == RUNNING for record in records):
            print(f"{elsewhere} still running in other processes")
        failed = [record for record in records if record.state == FAILED]
        for record in failed:
            print(f"mnist-lab train: {record.name}: {record.error}", file=sys.stderr)
        return Outcome(failed)


def _check_alone() -> None:
    """Check that no other process of the same command sweeps as well.

    Raises:
        ConfigError: torchrun or srun has started several that are to train together.
    """
    if has_launcher():
        raise ConfigError(
            "hydra/sweeper=study: trains each trial in one process; under torchrun or srun take "
            "hydra/sweeper=basic"
        )


def _read(config: DictConfig, arguments: Sequence[str], loader: Loader) -> tuple[Settings, Space]:
    """Return what was asked for, with the sampler that ``auto`` stands for."""
    settings = read_settings(config.hydra.sweeper)
    is_grid = None if settings.sampler == "auto" else settings.is_grid
    space = parse_space(settings.params, arguments, loader, is_grid=is_grid, seed=settings.seed)
    if is_grid is None:
        settings = replace(settings, sampler="grid" if space.is_grid else "tpe")
    check_settings(settings)
    if not space.dimensions and not settings.is_grid:
        raise ConfigError(
            f"hydra.sweeper.sampler={settings.sampler}: needs something to search over, such as "
            "'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    return settings, space


def _open_folder(folder: Path, asked: plan.Plan, settings: Settings) -> dict[str, Any]:
    """Return what is in a sweep's directory, now that it is; the caller holds its lock.

    Raises:
        ConfigError: it holds another sweep, or runs of none.
    """
    before = plan.read_plan(folder)
    if before is None:
        if any(folder.glob(f"*/{MANIFEST}")) or (folder / MANIFEST).exists():
            raise ConfigError(
                f"{folder}: holds runs that are of no sweep; choose another hydra.sweep.dir"
            )
    else:
        plan.check_same(folder, before, asked.identity(), settings.accept_changes)
        for name, value in asked.study.items():
            if before["study"][name] != value:
                raise ConfigError(
                    f"hydra.sweeper.{name}={shown_value(value)}: must be "
                    f"{shown_value(before['study'][name])} as when {folder} was begun"
                )
        asked = replace(asked, home=before["home"], overrides=before["overrides"])
    content = asked.content()
    if content != before:
        plan.write_plan(folder, content)
    return content


def _address(folder: Path, settings: Settings, objectives: Mapping[str, str]) -> "Address":
    """Return where the study is."""
    from mnist_lab.sweeps.study import Address, default_storage

    storage = settings.storage or default_storage(folder)
    return Address(
        storage=storage if "://" in storage else str(Path(storage).absolute()),
        name=settings.study_name or "sweep",
        directions=tuple(_DIRECTIONS[mode] for mode in objectives.values()),
        pruner=settings.pruner,
        pruner_options=settings.pruner_options,
    )


def _check_study(study: "Study", content: Mapping[str, Any], settings: Settings) -> None:
    """Check that a study, which other directories may share, is of this sweep.

    Raises:
        ConfigError: it is of another one.
    """
    identity = plan.identity_of(content)
    place = f"{study.address.name} in {study.address.storage}"
    if study.identity is None and study.trials():
        raise ConfigError(f"{place}: holds a study that is no sweep of the lab's; choose another")
    if study.identity is not None:
        plan.check_same(place, study.identity, identity, settings.accept_changes)
    if study.identity != identity:
        study.set_identity(identity)


@contextlib.contextmanager
def _told_how_to_go_on(ledger: Ledger, total: int) -> Iterator[None]:
    """Say how to go on with a sweep that is stopped."""
    try:
        yield
    except BaseException:
        done = sum(record.is_final for record in ledger)
        print(
            f"mnist-lab train: stopped with {done} of {total} trials done; the same command with "
            f"hydra.sweep.dir={shown(ledger.sweep_dir)} goes on",
            file=sys.stderr,
        )
        raise


def _checked(batch: Sequence[Record], points: Points, search: "Search") -> Iterator[Record]:
    """Yield the trials whose config is right; values may be searched that do not go together."""
    for record in batch:
        try:
            points.check([overrides_of(record.params)])
        except LabError as error:
            search.fail(record, str(error))
        else:
            yield record


def _launch(launcher: Launcher, batch: Sequence[Record], fixed: Sequence[str]) -> None:
    """Run trials, those with adjoining numbers at once, since Hydra numbers jobs from the first."""
    for _, group in itertools.groupby(enumerate(batch), lambda pair: pair[1].number - pair[0]):
        records = [record for _, record in group]
        overrides = [[*fixed, *overrides_of(record.params)] for record in records]
        try:
            launcher.launch(overrides, initial_job_idx=records[0].number)
        except Exception as error:  # what became of each trial is in its record
            _log.error("%s: %s", type(launcher).__name__, first_line(error), exc_info=error)
