"""Log files of a resumed run: their lengths at a snapshot, and cutting them back to those."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from fnmatch import fnmatch
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mnist_lab.errors import ConfigError, InputError, printable
from mnist_lab.files.atomic import write_atomic
from mnist_lab.files.regular import read_regular
from mnist_lab.files.tensorboard import EVENTS
from mnist_lab.training.lightning_internals import set_purge_step, set_version
from mnist_lab.training.loggers.tracker import Tracker

_CSV_KEPT = ".metrics.csv.kept"
_MAX_PATH = 10_000  # bytes
_OWNER = ".mnist_lab_run"  # file in a log folder outside a run's directory: whose folder it is


def log_lengths(loggers: Iterable[Logger]) -> list[dict[str, int]]:
    """Return for each logger the bytes of its event files, or the rows of its CSV file.

    One that cannot be cut back has sent all by then.
    """
    lengths: list[dict[str, int]] = []
    for logger in loggers:
        files: dict[str, int] = {}
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
            for path in Path(logger.log_dir).glob(EVENTS):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                files[path.name] = path.stat().st_size
        elif isinstance(logger, Tracker):
            files = logger.send()
        elif isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.log_dir, logger.experiment.NAME_METRICS_FILE)
            if path.exists():
                content = path.read_bytes()
                files[path.name] = len(content.splitlines())
                # Lightning writes the file anew, in place, whenever there is a new column.
                write_atomic(path.with_name(_CSV_KEPT), content)
        lengths.append(files)
    return lengths


def close_logs(loggers: Iterable[Logger], is_finished: bool = False) -> None:
    """End a run in trackers; remove the copies that it is resumed from, once it has finished."""
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.close(is_finished)
        elif is_finished and isinstance(logger, CSVLogger):
            Path(logger.log_dir, _CSV_KEPT).unlink(missing_ok=True)


def claim_folders(
    loggers: Iterable[Logger], run_dir: Path, logs: Sequence[Mapping[str, int]] | None = None
) -> None:
    """Note in log folders outside a run's directory that they are the run's, which cuts them back.

    ``logs`` are those of the snapshot that it is resumed from, in whose folders it goes on.

    Raises:
        ConfigError: one has log files of another run.
    """
    taken: set[tuple[type, Path]] = set()
    for logger, lengths in itertools.zip_longest(loggers, logs or []):
        if isinstance(logger, TensorBoardLogger | CSVLogger) and "://" not in str(logger.log_dir):
            if logs is not None and not Path(logger.log_dir).exists():
                _continue_version(logger, run_dir.resolve(), lengths or {}, taken)
            folder = Path(logger.log_dir).resolve()
            taken.add((type(logger), folder))
            _claim(folder, run_dir.resolve(), lengths or {})


def _continue_version(
    logger: TensorBoardLogger | CSVLogger,
    run_dir: Path,
    lengths: Mapping[str, int],
    taken: Set[tuple[type, Path]],
) -> None:
    """Have a logger that has numbered a new folder by itself use the run's own, if it has one."""
    new, ends = logger.version, (path.name[8:] for path in Path(logger.root_dir).glob("version_*"))
    for number in sorted((int(end) for end in ends if end.isdecimal()), reverse=True):
        set_version(logger, number)
        folder = Path(logger.log_dir).resolve()
        if not folder.is_dir() or (type(logger), folder) in taken:
            continue
        own = {str(run_dir), ""} if folder.is_relative_to(run_dir) else {str(run_dir)}
        if _owner_of(folder) in own and all((folder / name).exists() for name in lengths):
            return
    set_version(logger, new)


def _owner_of(folder: Path) -> str:
    """Return the directory of the run that has claimed a log folder; nothing where none has."""
    path = folder / _OWNER
    return read_regular(path, _MAX_PATH).decode(errors="surrogateescape") if path.exists() else ""


def _claim(folder: Path, run_dir: Path, lengths: Mapping[str, int]) -> None:
    if folder.is_relative_to(run_dir):
        return
    owner, files = _owner_of(folder), {path.name for path in folder.glob("*")}
    is_own = owner == str(run_dir)
    if not owner:  # perhaps one of an earlier version
        is_logged = any(fnmatch(name, EVENTS) or name == "metrics.csv" for name in files)
        is_own = not is_logged or (lengths != {} and lengths.keys() <= files)
    if not is_own:
        raise ConfigError(
            f"{folder}: has the log files of {printable(owner) or 'another run'}; a run cuts its "
            "own back where it is resumed, and so needs a folder of its own: leave save_dir out, "
            "or give each run another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / _OWNER, str(run_dir).encode(errors="surrogateescape"))


def rewind(
    loggers: Sequence[Logger],
    logs: Sequence[Mapping[str, int]] | None = None,
    step: int | None = None,
) -> None:
    """Cut off what was logged after a snapshot's step, or everything.

    ``logs`` is what ``log_lengths`` returned at the snapshot. It comes before anything is logged,
    and is done by rank 0 alone.

    Raises:
        InputError: the snapshot is of fewer loggers.
    """
    if logs is not None and len(logs) < len(loggers):
        raise InputError(f"the checkpoint is of a run with {len(logs)} loggers, not {len(loggers)}")
    for logger, lengths in zip(loggers, logs or [{}] * len(loggers), strict=False):
        if isinstance(logger, TensorBoardLogger):
            for path in Path(logger.log_dir).glob(EVENTS):
                if path.name not in lengths:
                    path.unlink()
                elif path.stat().st_size > lengths[path.name]:
                    os.truncate(path, lengths[path.name])
            # A TensorBoard that is running has read what is cut off; this makes it forget that.
            set_purge_step(logger, step)
        elif isinstance(logger, CSVLogger):
            _rewind_csv(logger, lengths)


def _rewind_csv(logger: CSVLogger, lengths: Mapping[str, int]) -> None:
    """Keep the first rows of a CSV file, which Lightning would delete when the logger starts."""
    folder = Path(logger.log_dir)
    path, kept = folder / "metrics.csv", folder / _CSV_KEPT
    source = kept if kept.exists() else path
    if not source.exists():
        return
    lines = source.read_bytes().splitlines(keepends=True)[: lengths.get(path.name, 0)]
    content = b"".join(lines)
    write_atomic(kept, content)
    writer = logger.experiment
    if lines:
        write_atomic(path, content)
        writer.metrics_keys = lines[0].decode().strip().split(",")
    else:
        kept.unlink()
