"""A logger to W&B's offline files, in which a run that is killed and resumed has each point once.

No process takes up an offline run of another, and W&B takes no point back. So the points are kept
in a file of the lab's own too, which is cut back to the checkpoint that a run is resumed from; an
offline run of the same id is written from it, in place of what the killed process left. As
``wandb sync`` replaces what it uploaded of an id before, that holds for W&B's server as well.
"""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from mnist_lab.config.allowlist import importing
from mnist_lab.errors import InputError, first_line
from mnist_lab.files.atomic import write_atomic
from mnist_lab.files.regular import read_regular
from mnist_lab.runs.directory import OFFLINE
from mnist_lab.training.loggers.tracker import Tracker, id_of

_log = logging.getLogger(__name__)
_MAX_BYTES = 2**30
_STEP = "trainer/global_step"  # as Lightning's own logger has it
_WRONG = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
# To write nowhere else, print nothing, and look at neither code nor machine.
_SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "symlink": False,
    "disable_code": True,
    "host": "",
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 0.1,  # seconds until a killed run's points are on the disk
}


class Wandb(Tracker):
    """Writes a run's points to W&B's files whenever a checkpoint is saved.

    Args:
        save_dir: the run's directory; the files are in ``wandb`` there.
        project: the project.
        run_name: the run's name; None is its directory's.
        group: the group of runs that it is of.
    """

    _open_runs: ClassVar[set[str]] = set()  # ids of this process, which share one of W&B's

    def __init__(
        self,
        save_dir: str,
        project: str = "mnist_lab",
        run_name: str | None = None,
        group: str | None = None,
    ) -> None:
        super().__init__(save_dir, run_name)
        self._project, self._group = project, group
        self._home = self._folder / "wandb"
        self._file = self._home / "points.jsonl"
        self._settings: dict[str, Any] = {}
        self._unkept: list[dict[str, float]] = []

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {name: float(value) for name, value in metrics.items()}
        self._unkept.append({**row, _STEP: step or 0, "_timestamp": time.time()})

    @override
    def _open(self, settings: Mapping[str, Any], lengths: Mapping[str, int] | None) -> None:
        length = 0 if lengths is None else lengths.get(self._file.name, -1)
        is_there = length > 0 and self._file.exists()
        content = read_regular(self._file, _MAX_BYTES)[:length] if is_there else b""
        if len(content) != length:
            _log.warning("logger=wandb: has no such run; what was logged before is not there")
            content = b""
        rows = [self._row(line) for line in content.splitlines()]
        write_atomic(self._file, content, root=self._folder)
        self._settings = dict(settings)
        self._run_id = id_of(self._folder)
        self._start(rows)

    def _row(self, line: bytes) -> dict[str, float]:
        try:
            row = {str(name): float(value) for name, value in json.loads(line).items()}
            return row | {_STEP: int(row[_STEP])}
        except _WRONG as error:
            raise InputError(f"{self._file}: not a run's points: {first_line(error)}") from error

    def _start(self, rows: Iterable[dict[str, float]]) -> None:
        """Write an offline run with these points, and then remove the one that is there."""
        unwanted = set(self._folder.glob(OFFLINE))
        try:
            self._init()
            for row in rows:
                self._client.log(row)
        except BaseException:  # a signal, too
            self._end()
            unwanted = set(self._folder.glob(OFFLINE)) - unwanted
            raise
        finally:
            for path in unwanted:
                shutil.rmtree(path, ignore_errors=True)

    def _init(self) -> None:
        shutil.rmtree(self._home / "wandb", ignore_errors=True)  # W&B's own log of before
        with _at(self._home):
            import wandb

            self._client = wandb.init(
                dir=str(self._folder),
                mode="offline",
                id=self._run_id,
                project=self._project,
                name=self._run_name,
                group=self._group,
                tags=str(self._settings.get("tags", "")).split(),
                notes=self._settings.get("note"),
                config=self._settings | {"run_dir": str(self._folder)},
                reinit="create_new",
                settings=wandb.Settings(**_SETTINGS),
            )
        # W&B's own log is one for a process, and so this link may lead to another run.
        Path(self._client.dir, "../logs/debug-core.log").unlink(missing_ok=True)
        self._open_runs.add(str(self._run_id))
        self._client.define_metric(_STEP)
        self._client.define_metric("*", step_metric=_STEP, step_sync=True)

    @override
    def send(self) -> dict[str, int]:
        rows, self._unkept = self._unkept, []
        with open(self._file, "ab") as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        try:
            if self._client is None:
                self._start(map(self._row, self._file.read_bytes().splitlines()))
                rows = []
            for row in rows:
                self._client.log(row)
        except Exception as error:  # W&B's process is gone, for example
            _log.warning("logger=wandb: %s; tries again later", first_line(error))
            self._client = None  # it cannot be finished
            self._end()
        return {self._file.name: length}

    @override
    def close(self, is_finished: bool = False) -> None:
        if self._run_id is None:
            return
        if is_finished:
            self.send()  # what could not be written before
            if self._client is None:
                _log.warning("logger=wandb: has no such run; its points are in %s", self._file)
        self._end(0 if is_finished else 1)
        self._run_id = None

    def _end(self, exit_code: int = 1) -> None:
        """End W&B's run, if there is one, and its process with the last one."""
        import wandb

        run, self._client = self._client, None
        self._open_runs.discard(str(self._run_id))
        with contextlib.suppress(Exception):  # of a process that is gone
            if run is not None:
                run.finish(exit_code=exit_code)
        with contextlib.suppress(Exception, SystemExit):  # the latter: it failed as it ended
            if not self._open_runs:
                wandb.teardown()


@contextlib.contextmanager
def _at(folder: Path) -> Iterator[None]:
    """Leave the current folder, whose settings W&B reads, and have it log in another."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would call home
    with importing(), tempfile.TemporaryDirectory() as place:
        before, tempfile.tempdir = tempfile.tempdir, place  # for folders that are for media alone
        try:
            import wandb  # noqa: F401 - it makes them as it is imported
        finally:
            tempfile.tempdir = before
    cache = os.environ.get("WANDB_CACHE_DIR")
    os.environ["WANDB_CACHE_DIR"] = str(folder)
    try:
        with importing():
            yield
    finally:
        del os.environ["WANDB_CACHE_DIR"]
        os.environ.update({} if cache is None else {"WANDB_CACHE_DIR": cache})
