"""A run directory has one owner, a name of its own, and files that are whole or not there."""

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.errors import BusyError, InputError, StorageError
from mnist_lab.runs import directory


def test_names_differ_within_a_second() -> None:
    names = {directory.new_name("outputs/runs") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(os.path.join("outputs/runs", "2")) for name in names)


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}
LIGHTNING = {"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        (TORCHRUN, True),
        (TORCHRUN | {"RANK": "2"}, False),
        (TORCHRUN | {"RANK": "0"} | SRUN, True),
        (SRUN, True),
        (SRUN | {"SLURM_PROCID": "3"}, False),
        (SRUN | {"SLURM_PROCID": "3", "WORLD_SIZE": "4"}, False),
        (LIGHTNING, True),
        (LIGHTNING | {"LOCAL_RANK": "1"}, False),
        (LIGHTNING | {"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),  # before Lightning has set the others
        ({"NODE_RANK": "0"}, True),
        # leftovers of other programs
        ({"RANK": "3"}, True),
        ({"LOCAL_RANK": "3"}, True),
        ({"SLURM_PROCID": "3"}, True),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "1"}, True),
        ({"RANK": "3", "WORLD_SIZE": "1"}, True),
        ({"RANK": "3"} | SRUN, True),
        ({"RANK": "first", "WORLD_SIZE": "all"}, True),
    ],
)
def test_only_rank_0_is_named_under_outputs(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_first: bool
) -> None:
    for name in TORCHRUN | SRUN | LIGHTNING:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    directory.is_rank_zero.cache_clear()
    try:
        assert directory.is_rank_zero() is is_first
        assert directory.new_name("outputs/runs").startswith("outputs") is is_first
    finally:
        directory.is_rank_zero.cache_clear()


def test_a_rank_stays_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning drops WORLD_SIZE at the end of a run, after which a command still prints."""
    directory.is_rank_zero.cache_clear()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not directory.is_rank_zero()
    monkeypatch.delenv("WORLD_SIZE")
    assert not directory.is_rank_zero()
    directory.is_rank_zero.cache_clear()


def test_second_process_is_turned_away(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, mnist_lab.runs.directory as r\n"
        "r.locked(pathlib.Path(sys.argv[1])).__enter__()"
    )
    other = [sys.executable, "-c", code, str(tmp_path)]
    with directory.locked(tmp_path):
        busy = subprocess.run(other, capture_output=True, text=True)
    assert BusyError.__name__ in busy.stderr
    assert str(tmp_path) in busy.stderr
    assert subprocess.run(other, capture_output=True).returncode == 0


def test_lock_makes_the_folder_or_says_why_not(tmp_path: Path) -> None:
    with directory.locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file: cannot be written"),
        directory.locked(tmp_path / "file"),
    ):
        pass


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock._acquire", no_locks)
    with (
        pytest.raises(StorageError, match=r"cannot be written: FileSystem does not appear"),
        directory.locked(tmp_path),
    ):
        pass


def test_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), directory.locked(tmp_path):
        raise RuntimeError
    with directory.locked(tmp_path):
        pass


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    directory.write(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"metrics\.json: cannot be written: No space left"):
        directory.write(path, "new")
    assert [one.name for one in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == "old"


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    rest = dict.fromkeys(("epochs", "steps", "time/fit", "time/total"), 1.0)
    found = {"val/loss": math.nan, "test/loss": -math.inf, "val_loss": math.inf}
    directory.write_metrics(tmp_path, found | rest)
    assert json.loads((tmp_path / directory.METRICS).read_text())["val/loss"] is None
    found = directory.read_metrics(tmp_path)
    assert math.isnan(found["val/loss"])
    assert math.isnan(found["test/loss"])
    assert math.isnan(found["val_loss"])  # as a LightningModule may call it
    directory.write_metrics(tmp_path, rest | {"epochs": math.nan})
    with pytest.raises(InputError, match="epochs: must be a number"):
        directory.read_metrics(tmp_path)


def test_metrics_are_flat_and_sorted(tmp_path: Path) -> None:
    directory.write_metrics(tmp_path, {"val/acc": 1.0, "test/acc": 0.5})
    text = (tmp_path / directory.METRICS).read_text()
    assert list(json.loads(text)) == ["test/acc", "val/acc"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff\xfe"])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest\.json"):
        directory.read_json(path)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file; is .* a run's directory"):
        directory.read_json(tmp_path / "manifest.json")


@pytest.mark.parametrize("change", ["moved", "deleted", "replaced", "a link in its place"])
def test_a_directory_that_is_not_where_it_was(change: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    place = directory.place_of(run_dir)
    directory.check_place(run_dir, place)
    run_dir.rename(tmp_path / "kept")
    if change == "replaced":
        run_dir.mkdir()
    if change == "a link in its place":
        (tmp_path / "other").mkdir()
        run_dir.symlink_to("other")
    with pytest.raises(StorageError, match="was moved or deleted while the run went on"):
        directory.check_place(run_dir, place)
