from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs.trash import discard, put_back


def test_it_is_in_outputs_or_beside_the_run(tmp_path: Path) -> None:
    one = make_run(tmp_path / "outputs/runs/a", 0, 0.9)
    other = make_run(tmp_path / "mine/b", 0, 0.9)
    for run, place in ((one, "outputs/.trash/1/runs/a"), (other, "mine/.trash/1/b")):
        discard(run, "1")
        assert (tmp_path / place / "metrics.json").exists()
        assert not run.exists()


def test_the_last_removal_is_undone_first(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"outputs/runs/{name}", 0, 0.9) for name in "abc"]
    discard(runs[0], "1")
    discard(runs[1], "2")
    discard(runs[2], "2")
    assert sorted(put_back([tmp_path / "outputs"])) == runs[1:]
    assert put_back([tmp_path / "outputs/runs"]) == runs[:1]
    assert all((run / "manifest.json").exists() for run in runs)
    assert not list((tmp_path / "outputs/.trash").glob("*"))
    with pytest.raises(InputError, match="nothing that was removed"):
        put_back([tmp_path / "outputs"])


def test_one_is_put_back_by_its_directory(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"outputs/runs/{name}", 0, 0.9) for name in "ab"]
    for run in runs:
        discard(run, "1")
    assert put_back(runs[:1]) == runs[:1]
    assert not runs[1].exists()


def test_what_is_there_again_is_not_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "outputs/runs/a", 0, 0.9)
    discard(run, "1")
    make_run(run, 1, 0.5)
    with pytest.raises(ConfigError, match="is there again"):
        put_back([tmp_path / "outputs"])
    assert '"val/acc": 0.5' in (run / "metrics.json").read_text()
