"""Synchronous halving: the same decisions by each launcher, and after any end."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from door import COMMAND, call

from mnist_lab.runs.directory import LAST, MANIFEST
from mnist_lab.sweeps.halving import SynchronousHalving
from mnist_lab.sweeps.records import Ledger, Record, Report

SWEEP = (
    "train -m model=mlp model.hidden_dims=[16] model.dropout=0.2 trainer=cpu trainer.max_epochs=6 "
    "trainer.limit_train_batches=8 trainer.limit_val_batches=2 trainer.limit_test_batches=2 "
    "logger=none ~callbacks.pictures hydra.sweeper.sampler=random hydra.sweeper.n_trials=9 "
    "'optimizer.lr=tag(log,interval(1e-4,1e-1))' hydra.sweeper.pruner=synchronous_halving "
    "'hydra.sweeper.pruner_options={min_resource:1,reduction_factor:3}'"
)
HYPERBAND = SWEEP.replace("reduction_factor:3", "reduction_factor:2,brackets:2")


def waiting(*values: float, epoch: int = 0) -> list[Record]:
    """Return records of trials that wait after an epoch."""
    reports = [Report(epoch, value) for value in values]
    return [Record(n, {}, n, report=report) for n, report in enumerate(reports)]


@pytest.mark.parametrize(("epochs", "rung"), [(0, 2), (1, 2), (2, 6), (5, 6), (6, 18)])
def test_rungs_are_a_geometric_series(epochs: int, rung: int) -> None:
    assert SynchronousHalving(2, 3).next_rung(epochs) == rung


@pytest.mark.parametrize(
    ("epoch", "sign", "left"), [(0, 1, {0, 2}), (0, -1, {1, 4}), (2, 1, {2}), (8, 1, {2})]
)
def test_the_best_of_a_rung_are_left(epoch: int, sign: int, left: set[int]) -> None:
    records = waiting(0.5, 0.1, 0.9, 0.4, 0.2, 0.5, epoch=epoch)
    losers = SynchronousHalving(1, 3).losers(records, 6, sign)
    assert {record.number for record in records} - {record.number for record in losers} == left


def test_brackets_have_hyperbands_proportions_and_rungs() -> None:
    pruner = SynchronousHalving(1, 3, brackets=3)
    brackets = [pruner.bracket_of(number) for number in range(220)]
    assert [brackets.count(bracket) for bracket in range(3)] == [120, 60, 40]  # 9/3 : 3/2 : 1
    assert {brackets.index(bracket) < 6 for bracket in range(3)} == {True}
    first = {pruner.bracket_of(number): pruner.next_rung(0, number) for number in range(6)}
    assert first == {0: 1, 1: 3, 2: 9}
    assert pruner.next_rung(3, brackets.index(1)) == 9


def test_a_bracket_has_its_own_places() -> None:
    pruner = SynchronousHalving(1, 2, brackets=2)
    own = [number for number in range(12) if pruner.bracket_of(number) == 1]
    assert len(own) == 6
    records = [Record(n, {}, n, report=Report(1, n / 100)) for n in own]
    left = {record.number for record in records}
    left -= {record.number for record in pruner.losers(records, 12, 1)}
    assert left == set(own[3:])


@pytest.mark.parametrize(
    "option",
    ["min_resource:0", "brackets:0", "brackets:1.5", "reduction_factor:1", "min_resource:a"],
)
def test_options_are_checked(option: str, tmp_path: Path) -> None:
    words = SWEEP.replace("{min_resource:1,reduction_factor:3}", f"{{{option}}}")
    done = call(words, tmp_path)
    assert done.returncode == 2
    assert option.partition(":")[0] in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_it_does_not_go_with_is_refused(tmp_path: Path) -> None:
    done = call(f"{SWEEP} hydra.sweeper.batch_size=2", tmp_path)
    assert (done.returncode, "hydra.sweeper.batch_size=2" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def outcome(folder: Path) -> dict[int, Any]:
    """Return how each trial has ended, and the hash of its last checkpoint's weights."""
    result = {}
    for record in Ledger(folder):
        manifest = json.loads((folder / str(record.directory) / MANIFEST).read_text())
        assert manifest["state"] == record.state
        assert (folder / str(record.directory) / LAST).exists()
        end = manifest["sha256"] if record.state == "finished" else record.error
        result[record.number] = (record.state, record.values, end)
    return result


def in_stacks(words: str, folder: Path) -> dict[int, Any]:
    done = call(f"{words} hydra/launcher=fused hydra.sweep.dir=s", folder)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    return outcome(folder / "s")


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    return in_stacks(SWEEP, tmp_path_factory.mktemp("halving"))


@pytest.fixture(scope="module")
def hyperband(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    return in_stacks(HYPERBAND, tmp_path_factory.mktemp("hyperband"))


@pytest.mark.thorough
def test_nine_trials_become_three_become_one(fused: dict[int, Any]) -> None:
    errors = [str(end) for state, _, end in fused.values() if state == "pruned"]
    assert [sum(f"after epoch {n} " in error for error in errors) for n in (1, 3)] == [6, 2]
    assert [state for state, _, _ in fused.values()].count("finished") == 1
    values = {number: value for number, (_, (value,), _) in fused.items()}
    (best,) = [number for number, (state, _, _) in fused.items() if state == "finished"]
    assert values[best] == max(values.values())


@pytest.mark.thorough
def test_each_bracket_of_hyperband_is_halved_by_itself(hyperband: dict[int, Any]) -> None:
    pruner = SynchronousHalving(1, 2, brackets=2)
    for bracket, rungs in ((0, [1, 2, 4]), (1, [2, 4])):
        own = [end for number, end in hyperband.items() if pruner.bracket_of(number) == bracket]
        errors = [str(end) for state, _, end in own if state == "pruned"]
        size = left = len(own)
        for place, rung in enumerate(rungs, start=1):
            stays = max(1, size // 2**place)
            assert sum(f"after epoch {rung} " in error for error in errors) == left - stays
            left = stays
        assert [state for state, _, _ in own].count("finished") == left


@pytest.mark.parametrize("words", [SWEEP, HYPERBAND], ids=["halving", "hyperband"])
def test_each_launcher_decides_the_same(
    words: str, fused: dict[int, Any], hyperband: dict[int, Any], tmp_path: Path
) -> None:
    done = call(f"{words} hydra.sweep.dir=s", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "s") == (fused if words == SWEEP else hyperband)


@pytest.mark.slow
@pytest.mark.parametrize("search", [SWEEP, HYPERBAND], ids=["halving", "hyperband"])
@pytest.mark.parametrize("launcher", ["basic", "fused", "parallel"])
@pytest.mark.parametrize("seconds", [0.1, 0.6, 1.5])
def test_after_a_kill_it_decides_the_same(
    seconds: float,
    launcher: str,
    search: str,
    fused: dict[int, Any],
    hyperband: dict[int, Any],
    tmp_path: Path,
) -> None:
    words = shlex.split(f"{search} hydra/launcher={launcher} hydra.sweep.dir=s")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for attempt in range(4):
        process = subprocess.Popen(
            [COMMAND, *words], cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment
        )
        before = time.time()
        while process.poll() is None:
            paths = list((tmp_path / "s" / "ledger").glob("*.json"))
            if any(path.stat().st_mtime > before + attempt * seconds for path in paths):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait()
    done = call(" ".join(map(shlex.quote, words)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "s") == (fused if search == SWEEP else hyperband)
