"""Runs and sweeps below some folders while they change; only what has changed is read again."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_lab.report.listing import with_sweeps
from mnist_lab.report.read_runs import NOT_SEARCHED, Entry, is_training, read_entry
from mnist_lab.runs.directory import CONFIG, MANIFEST, METRICS, PROGRESS
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.progress import Beat, read_beat

_ROUND = 20  # looks in which every run that has ended is looked at once
_FRESH = 2 * 10**9  # nanoseconds
_ALIVE = 10.0  # seconds after which a run without progress is asked whether it goes on
_Folder = tuple[int, list[Path], list[Path]]  # time of the last change, runs, other folders


@dataclass
class _Seen:
    entry: Entry
    signature: tuple[Any, ...]
    beat_at: int = 0
    beat: Beat | None = None
    looked_at: float = 0.0


class Live:
    """The runs in or below some folders.

    A look costs a ``stat`` for each folder that holds runs and a few for each run that trains; of
    the others some are looked at each time.
    """

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = list(places)
        self._folders: dict[Path, _Folder] = {}
        self._seen: dict[Path, _Seen] = {}
        self._rows: list[Entry] | None = None
        self._stacks: dict[Path, tuple[int, Beat | None]] = {}  # by sweep, with the file's time
        self._looks = 0
        self._has_changed = False

    @property
    def entries(self) -> list[Entry]:
        """All runs, the newest first."""
        entries = [seen.entry for seen in self._seen.values()]
        return sorted(entries, key=lambda entry: (-entry.started, str(entry.path)))

    @property
    def rows(self) -> list[Entry]:
        """What runs, and then the rest, the newest first; a sweep is one row."""
        if self._rows is None:
            rows = with_sweeps(self.entries)
            self._rows = sorted(rows, key=lambda row: row.state != RunState.RUNNING)
        return self._rows

    def states(self) -> Counter[str]:
        """Return how many runs are in each state."""
        return Counter(seen.entry.state for seen in self._seen.values())

    def beat(self, entry: Entry) -> Beat | None:
        """Return how far a run or a stack is; None where it does not train or does not say."""
        if entry.state != RunState.RUNNING:
            return None
        if entry.trials:
            return self._stacks.get(entry.path, (0, None))[1]
        seen = self._seen.get(entry.path)
        return seen.beat if seen else None

    def look(self) -> bool:
        """Look at the folders, and return whether anything has changed."""
        self._has_changed = False
        before, self._folders = self._folders, {}  # which leaves out those that went
        places = self._places
        paths = dict.fromkeys(path for place in places for path in self._runs_in(place, before))
        for path in self._seen.keys() - paths.keys():
            del self._seen[path]
            self._note_change()
        for number, path in enumerate(paths):
            seen = self._seen.get(path)
            is_running = seen is not None and seen.entry.state == RunState.RUNNING
            if seen is None or is_running or number % _ROUND == self._looks % _ROUND:
                self._look_at(path, seen)
        running = [row.path for row in self.rows if row.trials and row.state == RunState.RUNNING]
        self._stacks = {path: self._stacks.get(path, (0, None)) for path in running}
        for path in running:
            self._look_at_stack(path)
        self._looks += 1
        return self._has_changed

    def _runs_in(self, place: Path, before: dict[Path, _Folder]) -> Iterator[Path]:
        """Yield the runs in and below a folder; what holds no run is looked at for new ones."""
        unseen = [place]
        while unseen:
            folder = unseen.pop()
            if folder in self._seen:  # it goes with the folder that it is in
                yield folder
                continue
            try:
                changed = folder.stat().st_mtime_ns
                known = before.get(folder)
                is_fresh = time.time_ns() - changed < _FRESH  # its clock may stand for a while
                if known is None or known[0] != changed or is_fresh:
                    known = (changed, *_content(folder))
            except OSError:  # it went
                continue
            self._folders[folder] = known
            yield from known[1]
            unseen += known[2]

    def _look_at(self, path: Path, seen: _Seen | None) -> None:
        signature = _signature(path)
        if seen is None or seen.signature != signature:
            seen = self._seen[path] = _Seen(read_entry(path), signature)
            seen.looked_at = time.monotonic()
            self._note_change()
        if seen.entry.state == RunState.RUNNING:
            self._look_at_beat(path, seen)

    def _look_at_beat(self, path: Path, seen: _Seen) -> None:
        with contextlib.suppress(OSError):
            at = (path / PROGRESS).stat().st_mtime_ns
            if at != seen.beat_at:
                seen.beat_at, seen.beat = at, read_beat(path) or seen.beat
                seen.looked_at = time.monotonic()
                self._has_changed = True
        if time.monotonic() - seen.looked_at > _ALIVE:
            seen.looked_at = time.monotonic()
            if not is_training(path):
                seen.entry.state = RunState.INTERRUPTED
                self._note_change()

    def _look_at_stack(self, path: Path) -> None:
        """Read how far the stack is that trains a sweep's trials, if one does."""
        known = self._stacks[path]
        try:
            at = (path / PROGRESS).stat().st_mtime_ns
            is_alive = time.time_ns() - at < _ALIVE * 10**9
        except OSError:
            at, is_alive = 0, False
        if at != known[0] or (known[1] is not None and not is_alive):
            self._stacks[path] = at, read_beat(path) if is_alive else None
            self._has_changed = True

    def _note_change(self) -> None:
        self._has_changed, self._rows = True, None


def _content(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the runs and the other folders in a folder; itself where it is a run."""
    runs, folders = [], []
    with os.scandir(folder) as found:
        for item in found:
            if item.name in (MANIFEST, METRICS):
                runs.append(folder)
            elif item.name not in NOT_SEARCHED and item.is_dir(follow_symlinks=False):
                folders.append(Path(item.path))
    return (runs[:1], []) if runs else ([], sorted(folders))


def _signature(path: Path) -> tuple[Any, ...]:
    """Return what changes with a run's files."""
    marks = []
    for name in (MANIFEST, METRICS, CONFIG):
        try:
            status = os.stat(path / name)
            marks.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            marks.append((0, 0, 0))
    return tuple(marks)
