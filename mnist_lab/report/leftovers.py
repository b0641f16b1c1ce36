"""What runs and sweeps take on the disk without need: what it is, how much, and its removal."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mnist_lab.files.atomic import remove, write_errors
from mnist_lab.files.regular import check_links
from mnist_lab.report.listing import entries
from mnist_lab.report.read_runs import BROKEN, is_training
from mnist_lab.runs.directory import (
    CHECKPOINTS,
    CONFIG,
    JOBS,
    LEDGER,
    LOCK,
    METRICS,
    PREVIOUS,
    is_held,
)
from mnist_lab.runs.exclusive import exclusive, sweep_of
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.trash import TRASH, discard, home_of

LOG = "train.log"


class Kind(StrEnum):
    """What can be removed."""

    TRASH = "trash"
    BROKEN = "broken"
    INCOMPLETE = "incomplete"
    PREVIOUS = "previous"
    LEFTOVERS = "leftovers"


MEANING = {
    Kind.TRASH: "what runs rm has removed; it is gone then",
    Kind.BROKEN: "runs that cannot be read; they go to the trash",
    Kind.INCOMPLETE: "runs that failed or were interrupted, and could be resumed; to the trash",
    Kind.PREVIOUS: "previous.ckpt of finished runs, needed where last.ckpt is corrupt",
    Kind.LEFTOVERS: "of sweeps: jobs and locks; files that were killed while written",
}


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be removed, and the run or sweep that it is of."""

    kind: Kind
    path: Path
    owner: Path

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        paths = [self.path]
        for folder, _, names in os.walk(self.path):
            paths += (Path(folder, name) for name in names)
        return sum(path.lstat().st_size for path in paths if path.is_file() or path.is_symlink())


def leftovers(places: Iterable[Path]) -> Iterator[Leftover]:
    """Yield what can be removed in or below some folders; nothing of a run that is running.

    Raises:
        InputError: a place is no directory.
    """
    places = list(places)
    runs = entries(places)
    for home in dict.fromkeys(map(home_of, [*(run.path for run in runs), *places])):
        if (home / TRASH).is_dir() and not (home / TRASH).is_symlink():
            yield Leftover(Kind.TRASH, home / TRASH, home)
    for run in runs:
        if run.state == BROKEN:
            yield Leftover(Kind.BROKEN, run.path, run.path)
        elif run.state in (RunState.FAILED, RunState.INTERRUPTED):
            yield Leftover(Kind.INCOMPLETE, run.path, run.path)
        elif run.state != RunState.RUNNING:
            if (run.path / PREVIOUS).is_file() and (run.path / METRICS).exists():
                yield Leftover(Kind.PREVIOUS, run.path / PREVIOUS, run.path)
            for folder in (run.path, run.path / CHECKPOINTS):
                for path in folder.glob(".*.partial"):
                    yield Leftover(Kind.LEFTOVERS, path, run.path)
    for path in _unbegun(places):
        yield Leftover(Kind.INCOMPLETE, path, path)
    for sweep in dict.fromkeys(sweep for run in runs if (sweep := sweep_of(run.path))):
        yield from _of_sweep(sweep)


def _unbegun(places: Iterable[Path]) -> Iterator[Path]:
    """Yield directories of runs that ended before they had a manifest."""
    for place in places:
        for folder, names, files in os.walk(place):
            names[:] = sorted(set(names) - {TRASH, CHECKPOINTS, LEDGER})
            is_begun = ".hydra" in names and set(files) <= {CONFIG, LOCK, LOG}
            names[:] = [name for name in names if name != ".hydra"]
            if is_begun and not names and not is_training(Path(folder)):
                yield Path(folder)


def _of_sweep(sweep: Path) -> Iterator[Leftover]:
    if (sweep / JOBS).is_dir():
        yield Leftover(Kind.LEFTOVERS, sweep / JOBS, sweep)
    ledger = sweep / LEDGER
    for path in (*ledger.glob("*-*.lock"), *ledger.glob(".*.partial")):
        if path.suffix == ".partial" or not is_held(path):
            yield Leftover(Kind.LEFTOVERS, path, sweep)


def remove_leftover(leftover: Leftover, name: str) -> None:
    """Remove something for good, or move a run to the trash, into a folder of that name.

    Raises:
        BusyError: a process works there.
        StorageError: it cannot be removed.
        UntrustedError: a link leads out of the directory.
    """
    path = leftover.path
    if leftover.kind in (Kind.BROKEN, Kind.INCOMPLETE):
        discard(path, name)
    elif leftover.kind == Kind.TRASH:
        with write_errors(path):
            shutil.rmtree(path)
    else:
        with exclusive(leftover.owner), write_errors(path):
            check_links(leftover.owner)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                remove(path, leftover.owner)
