"""Exclusive use of a run's or a sweep's directory, while it is moved, cleared or packed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mnist_lab.errors import BusyError
from mnist_lab.runs.directory import (
    LEDGER,
    LOCK,
    MANIFEST,
    SWEEP,
    display_path,
    hold,
    is_held,
    locked,
)


def sweep_of(run_dir: Path) -> Path | None:
    """Return the directory of the sweep that a run is a trial of."""
    return next((path for path in run_dir.parents if (path / SWEEP).is_file()), None)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a run, or a sweep with its trials, so that no process works on it or begins to.

    A trial is held with its sweep.

    Raises:
        BusyError: a process works on it.
        StorageError: it cannot be written.
    """
    folder = folder.absolute()
    is_sweep = (folder / SWEEP).is_file()
    sweep = folder if is_sweep else sweep_of(folder)
    with contextlib.ExitStack() as held:
        if sweep is not None:
            check_unused(sweep)
            if (sweep / LEDGER).is_dir():
                held.enter_context(hold(sweep / LEDGER / LOCK, sweep))
        runs = [path.parent for path in folder.rglob(MANIFEST)] if is_sweep else [folder]
        for run_dir in runs:
            held.enter_context(locked(run_dir))
        yield


def check_unused(sweep: Path) -> None:
    """Check that no process owns trials of a sweep.

    Raises:
        BusyError: one does.
    """
    for path in (sweep / LEDGER).glob("*.lock"):
        if path.name != LOCK and is_held(path):
            raise BusyError(
                f"{display_path(sweep)}: a process works on this sweep; wait for it or stop it"
            )
