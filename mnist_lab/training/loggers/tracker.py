"""What the loggers to MLflow and W&B have in common: their place in a run, and its name in them."""

import hashlib
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from typing_extensions import override

from mnist_lab.errors import ConfigError, LabError, first_line
from mnist_lab.runs import manifest

TAG = "mnist_lab"
_SECRET = "tracker"  # key of the manifest


class Tracker(Logger):
    """Sends a run's points whenever a checkpoint is saved, to what takes no point back.

    Args:
        save_dir: the run's directory.
        run_name: the run's name; None is its directory's.
    """

    def __init__(self, save_dir: str, run_name: str | None) -> None:
        super().__init__()
        self._folder = Path(save_dir).absolute()
        self._run_name = run_name or self._folder.name
        self._run_id: str | None = None
        self._client: Any = None

    @property
    def experiment(self) -> Any:
        """What takes the points, while the run is open."""
        return self._client

    @property
    @override
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    @override
    def version(self) -> str | None:
        return self._run_id

    @override
    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        """Leave the model's own out, as ``begin`` sends the config's."""

    def begin(self, settings: Mapping[str, Any], lengths: Mapping[str, int] | None) -> None:
        """Find the run, or start it, and send its hyperparameters.

        Args:
            settings: the hyperparameters.
            lengths: what ``send`` returned at the snapshot that the run is resumed from; None for
                a new run.

        Raises:
            ConfigError: the tracker refuses.
        """
        try:
            self._open(settings, lengths)
        except Exception as error:
            self.close()
            if isinstance(error, LabError):
                raise
            raise ConfigError(f"logger={self.name}: {first_line(error)}") from error

    @abstractmethod
    def _open(self, settings: Mapping[str, Any], lengths: Mapping[str, int] | None) -> None: ...

    @abstractmethod
    def send(self) -> dict[str, int]:
        """Send what was logged, and return the lengths of files that a snapshot keeps."""

    @override
    def finalize(self, status: str) -> None:
        """Send all: Lightning calls this after each of fit, validate and test, and on errors."""
        if self._run_id is not None:  # else of another rank, or refused
            self.send()

    @abstractmethod
    def close(self, is_finished: bool = False) -> None:
        """End the run in the tracker, once; one that is not finished may be resumed."""


def id_of(run_dir: Path) -> str:
    """Return what a run is found by in a tracker: a hash, so that no directory names another's."""
    secret = manifest.read_manifest(run_dir).get(_SECRET)
    if not secret:
        secret = uuid.uuid4().hex
        manifest.update_manifest(run_dir, **{_SECRET: secret})
    return hashlib.sha256(f"{TAG} {secret}".encode()).hexdigest()[:32]
