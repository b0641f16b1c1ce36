"""Opening of a sweep's directory and of its study, both of which may exist."""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_lab.config.knob import shown as shown_value
from mnist_lab.errors import ConfigError, LabError
from mnist_lab.runs.directory import MANIFEST, display_path
from mnist_lab.runs.exclusive import check_unused
from mnist_lab.runs.summary import counted
from mnist_lab.sweeps import plan
from mnist_lab.sweeps.records import Ledger
from mnist_lab.sweeps.request import Request

if TYPE_CHECKING:
    from mnist_lab.sweeps.algorithms import Direction
    from mnist_lab.sweeps.study import Study

_log = logging.getLogger(__name__)
_DIRECTIONS: dict[str, "Direction"] = {"max": "maximize", "min": "minimize"}


def opened(request: Request, ledger: Ledger) -> "Study":
    """Open a sweep's directory and its study; both may exist."""
    # Optuna takes 0.15 s to import, which a wrong config need not wait for.
    from mnist_lab.sweeps.algorithms import check_options
    from mnist_lab.sweeps.storage import DATABASE, check_database, url_of
    from mnist_lab.sweeps.study import Address, Study

    folder, settings = ledger.sweep_dir, request.settings
    storage = settings.storage or url_of(folder / DATABASE)
    address = Address(
        storage=storage if "://" in storage else str(Path(storage).absolute()),
        name=settings.study_name or "sweep",
        directions=tuple(_DIRECTIONS[mode] for mode in request.objectives.values()),
        pruner=settings.pruner,
        pruner_options=settings.pruner_options,
    )
    check_database(folder)
    check_options(settings, address.directions, request.space)
    _content(folder, request)  # before anything is written
    try:
        with ledger.locked():
            ledger.remove_partials()
            before = plan.read_plan(folder)  # another process may have been faster
            content = _content(folder, request)
            study = Study(address)
            if study.identity is not None and request.widened(study.identity) != study.identity:
                study = _widened(study, request, ledger)
            if changes := plan.changes(before or content, request.plan):
                _log.warning("%s: was begun with %s", display_path(folder), "; ".join(changes))
            if content != before:
                plan.write_plan(folder, content)
            return study
    except LabError:
        ledger.drop_empty()
        raise


def _widened(study: "Study", request: Request, ledger: Ledger) -> "Study":
    """Give a study a wider space, and say how far the result is that of one that began with it."""
    place, before = display_path(ledger.sweep_dir), study.identity or {}
    with contextlib.ExitStack() as stack:
        stack.callback(study.close)
        check_unused(ledger.sweep_dir)
        identity = request.widened(before)
        plan.check_same(place, identity, request.plan.identity(), request.settings.accept_changes)
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
            "%s: goes further, %s: its %s %s, and %s",
            place,
            "; ".join(changed),
            counted(len(study.trials()), "trial"),
            "stays" if len(study.trials()) == 1 else "stay",
            told,
        )
        return study.widened(ledger.sweep_dir, request.space.distributions(), identity)


def _content(folder: Path, request: Request) -> dict[str, Any]:
    """Return what ``sweep.json`` has to be, with what the directory's own says already."""
    # Looked for first: another process that begins the sweep writes its file before it runs any.
    has_runs = any(folder.glob(f"*/{MANIFEST}")) or (folder / MANIFEST).exists()
    before, place = plan.read_plan(folder), display_path(folder)
    if before is None:
        if has_runs:
            raise ConfigError(
                f"{place}: holds runs that are of no sweep; choose another hydra.sweep.dir"
            )
        return request.plan.content()
    plan.check_same(
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


def checked_study(study: "Study", folder: Path, request: Request) -> str:
    """Check that a study belongs to this sweep, and return the name of this directory in it."""
    content = plan.read_plan(folder)
    assert content is not None
    identity = plan.identity_of(content)
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
        plan.check_same(place, study.identity, identity, request.settings.accept_changes, named_by)
    if study.identity != identity:
        study.set_identity(identity)
    study.check()
    return str(content["home"])
