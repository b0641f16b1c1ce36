"""The way in which Lightning writes and reads checkpoint files here."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from typing_extensions import override

from mnist_lab.errors import ConfigError, UntrustedError
from mnist_lab.files.checkpoint import read_checkpoint, write_checkpoint
from mnist_lab.files.checkpoint_archive import opened


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its name first, and reads none that names code.

    Lightning's own goes through ``$TMPDIR``; from another file system it is copied over the last
    good checkpoint. ``storage_options`` is the path that the replaced file is kept at, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_known_to_load = False

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        write_checkpoint(Path(path), checkpoint, keep=storage_options)
        if not self._is_known_to_load:
            self._check_loads(Path(path))

    def _check_loads(self, path: Path) -> None:
        """Find out at the first save whether a user's own code saves more than can be loaded."""
        try:
            with opened(path):
                pass
        except UntrustedError as error:
            raise ConfigError(
                f"{error}; have your code save tensors, numbers, strings, lists and dicts only"
            ) from error
        self._is_known_to_load = True

    @override
    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    @override
    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
