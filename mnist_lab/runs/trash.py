"""Trash folder for runs and sweeps that were removed, from which they can be put back.

It is ``.trash`` in the folder ``outputs``, or beside what was removed where there is none such: on
the same file system, so that a run is moved at once or not at all, and not where TensorBoard looks.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.files.atomic import write_errors
from mnist_lab.runs.directory import OUTPUTS, new_name
from mnist_lab.runs.exclusive import exclusive, sweep_of

TRASH = ".trash"


def discard(folder: Path, name: str) -> None:
    """Move a run or a sweep to the trash.

    What was removed together has a folder of one name there, and is put back together.

    Raises:
        BusyError: a process works on it.
        StorageError: it cannot be moved.
    """
    home = home_of(folder)
    place = home / TRASH / name / folder.absolute().relative_to(home)
    with exclusive(folder), write_errors(folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, place)


def removal_name() -> str:
    """Return a name for what is removed together; later ones come later in the alphabet."""
    return Path(new_name("")).name


def put_back(places: Iterable[Path]) -> list[Path]:
    """Move back what was removed last from folders, or from former directories; return these.

    Raises:
        ConfigError: a directory of that name is there again.
        InputError: nothing was removed there.
        StorageError: it cannot be moved.
    """
    moves: dict[Path, Path] = {}
    for place in places:
        moves |= _last_removed(place.absolute())
    for path in moves.values():
        if path.exists():
            raise ConfigError(f"{path}: is there again; move it away first")
    for kept, path in moves.items():
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.rename(kept, path)
        with contextlib.suppress(OSError):  # others that were removed with it are still there
            os.removedirs(kept.parent)
    return list(moves.values())


def _last_removed(place: Path) -> dict[Path, Path]:
    """Return the last removal of a run, or else of all in a folder: where it is, and where to."""
    homes = dict.fromkeys([home_of(place), home_of(place / "run"), place])
    removals = sorted(
        (folder for home in homes for folder in (home / TRASH).glob("*")),
        key=lambda folder: folder.name,
        reverse=True,
    )
    for whole in (False, True):
        for removal in removals:
            home = removal.parent.parent
            moves = {kept: home / kept.relative_to(removal) for kept in removed_in(removal)}
            if not whole:
                moves = {kept: path for kept, path in moves.items() if path == place}
            if moves:
                return moves
    raise InputError(f"{place}: nothing that was removed is there")


def removed_in(folder: Path) -> Iterable[Path]:
    """Yield the directories of runs and sweeps in a folder of the trash."""
    for path, names, files in os.walk(folder):
        if files:
            names.clear()
            yield Path(path)


def home_of(folder: Path) -> Path:
    """Return the folder whose trash takes a run or sweep."""
    folder = folder.absolute()
    beside = (sweep_of(folder) or folder).parent
    above = next((path for path in folder.parents if path.name == OUTPUTS), None)
    if above is None or not above.is_dir():
        return beside
    is_same_disk = above.stat().st_dev == (folder.stat().st_dev if folder.exists() else None)
    return above if is_same_disk or not folder.exists() else beside
