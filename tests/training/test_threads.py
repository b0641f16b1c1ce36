"""threads= of a run: what it computes with, what its manifest says, what is left afterwards."""

import json
import os
from pathlib import Path

import pytest
import torch
from door import FEW_BATCHES, call

from mnist_lab.training.threads import threads_of

TRAIN = f"train model=softmax {FEW_BATCHES} ~callbacks.pictures ~callbacks.progress"


def threads_in(run_dir: Path) -> int:
    number: int = json.loads((run_dir / "manifest.json").read_text())["threads"]
    return number


def test_a_number_is_what_the_run_computes_with(tmp_path: Path) -> None:
    variable = os.environ["OMP_NUM_THREADS"]
    assert call(f"{TRAIN} threads=3 hydra.run.dir=run", tmp_path).returncode == 0
    assert threads_in(tmp_path / "run") == 3
    assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (1, variable)


def test_auto_leaves_what_the_process_has(tmp_path: Path) -> None:
    assert call(f"{TRAIN} hydra.run.dir=run", tmp_path).returncode == 0
    assert threads_in(tmp_path / "run") == torch.get_num_threads()


def test_another_number_is_the_same_run(tmp_path: Path) -> None:
    for threads in (1, 2):
        done = call(f"{TRAIN} threads={threads} hydra.run.dir=run", tmp_path)
        assert done.returncode == 0, done.stderr
    assert "finished already" in done.stdout


def test_variable_that_was_not_set_is_not_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    with threads_of({"threads": 2}):
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (2, "2")
    assert torch.get_num_threads() == 1
    assert "OMP_NUM_THREADS" not in os.environ


def test_trials_of_a_stack_compute_with_their_number(tmp_path: Path) -> None:
    command = f"{TRAIN} -m threads=2 optimizer.lr=0.1,0.2 hydra.sweep.dir=sweep"
    done = call(f"{command} hydra/launcher=fused", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [threads_in(tmp_path / "sweep" / name) for name in "01"] == [2, 2]
    assert torch.get_num_threads() == 1
