"""Loggers that send elsewhere: a run's name there, and what is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs.manifest import read_manifest, update_manifest
from mnist_lab.training.loggers.tracker import Tracker, id_of


class Refusing(Tracker):
    """Refuses with an error."""

    def __init__(self, save_dir: str, error: Exception) -> None:
        super().__init__(save_dir, None)
        self.error = error
        self.is_closed = False

    @override
    def _open(self, settings: Mapping[str, Any], lengths: Mapping[str, int] | None) -> None:
        raise self.error

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    @override
    def send(self) -> dict[str, int]:
        raise AssertionError("it has not begun")

    @override
    def close(self, is_finished: bool = False) -> None:
        self.is_closed = True


def test_the_id_is_a_runs_own_and_stays_where_it_is_moved_to(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        update_manifest(tmp_path / name)
    first = id_of(tmp_path / "a")
    assert id_of(tmp_path / "b") != first
    assert (tmp_path / "a").rename(tmp_path / "c")
    assert id_of(tmp_path / "c") == first
    assert first not in read_manifest(tmp_path / "c").values()  # no directory can name another's


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (OSError("no\nroute"), ConfigError("logger=refusing: no")),
        (InputError("a file is corrupt"), InputError("a file is corrupt")),
    ],
)
def test_what_is_refused_is_one_line_and_is_closed(
    error: Exception, refusal: Exception, tmp_path: Path
) -> None:
    logger = Refusing(str(tmp_path), error)
    with pytest.raises(type(refusal)) as raised:
        logger.begin({}, None)
    assert str(raised.value) == str(refusal)
    assert logger.is_closed
    logger.finalize("success")
    assert logger.version is None
