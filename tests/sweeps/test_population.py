"""Population-based training: the same decisions by each launcher, and after any end."""

import itertools
import json
import math
import os
import shlex
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from door import COMMAND, call

from mnist_lab.errors import Diverged, Paused, Pruned
from mnist_lab.files import atomic
from mnist_lab.runs.directory import LAST, MANIFEST
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.inheritance import Phase
from mnist_lab.sweeps.population import Exploit, Population
from mnist_lab.sweeps.records import Ledger, Record, Report
from mnist_lab.sweeps.rungs import Rungs
from mnist_lab.sweeps.space import parse_space
from mnist_lab.sweeps.trial import Trial
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
SWEEP = (
    "train -m model=mlp model.hidden_dims=[16] trainer=cpu trainer.max_epochs=3 "
    "trainer.limit_train_batches=6 trainer.limit_val_batches=2 trainer.limit_test_batches=2 "
    "scheduler=none logger=none ~callbacks.pictures hydra.sweeper.sampler=random "
    f"hydra.sweeper.n_trials=4 '{LR}' 'model.dropout=choice(0.1,0.3)' "
    "hydra.sweeper.pruner=population hydra.sweep.dir=s"
)
SPACE = parse_space({}, [LR, "b=choice(x,y,z)", "c=range(0,1,0.25)", "d=range(1,4)"], is_grid=False)
BEGUN = {"optimizer.lr": "0.01", "b": "y", "c": "0.5", "d": "1"}


class Killed(BaseException):
    """Nothing catches it."""


def waiting(*values: float, epoch: int = 0) -> list[Record]:
    """Return records of trials that wait after an epoch."""
    reports = [Report(epoch, value) for value in values]
    return [
        Record(n, {**BEGUN, "d": str(n + 1)}, n, report=report) for n, report in enumerate(reports)
    ]


def copied(records: list[Record], sign: int = 1, seed: int = 0) -> dict[int, int]:
    """Return which trials copy which."""
    exploits = Population(1, 0.5).exploits(records, sign, SPACE, seed)
    return {exploit.loser.number: exploit.winner.number for exploit in exploits}


@pytest.mark.parametrize(("epochs", "rung"), [(0, 2), (1, 2), (2, 4), (5, 6)])
def test_rungs_are_an_interval_apart(epochs: int, rung: int) -> None:
    assert Population(2).next_rung(epochs) == rung


def test_the_worst_copy_the_best() -> None:
    records = waiting(0.9, 0.1, 0.5, 0.5, 0.8)
    assert copied(records).keys() == {1, 3}
    assert copied(records, sign=-1).keys() == {0, 4}
    assert {*copied(records).values()} <= {0, 4}
    assert copied(records) == copied(records[::-1])
    assert len({copied(records, seed=seed)[1] for seed in range(20)}) == 2
    assert copied(waiting(0.5)) == {}


@pytest.mark.parametrize(("count", "losers"), [(1, 0), (2, 1), (3, 1), (8, 2), (20, 5)])
def test_as_many_copy_as_the_quantile_says(count: int, losers: int) -> None:
    records = waiting(*(number / count for number in range(count)))
    assert len(Population().exploits(records, 1, SPACE, 0)) == losers


def test_what_is_explored_lies_beside_what_was_copied() -> None:
    explored: list[dict[str, str]] = []
    for epoch in range(40):
        (exploit,) = Population().exploits(waiting(0.9, 0.1, epoch=epoch), 1, SPACE, 0)
        assert exploit.lineage[0] == Phase(0, 0, exploit.winner.params)
        assert (exploit.lineage[1].epoch, exploit.lineage[1].trial) == (epoch + 1, 1)
        explored.append(exploit.lineage[1].params)
    assert {params["optimizer.lr"] for params in explored} == {"0.008", "0.012"}
    values = {key: {params[key] for params in explored} for key in BEGUN}
    assert values["b"] == {"x", "y", "z"}
    assert [params["b"] for params in explored].count("y") < 10  # where it is drawn anew
    assert (values["c"], values["d"]) == ({"0.25", "0.75"}, {"2"})


def test_a_lineage_is_that_of_the_winner_and_one_phase_more() -> None:
    records = waiting(0.9, 0.1, epoch=5)
    records[0].lineage = [Phase(0, 3, BEGUN), Phase(2, 0, BEGUN)]
    (exploit,) = Population().exploits(records, 1, SPACE, 0)
    assert exploit.lineage[:2] == records[0].lineage
    assert [(phase.epoch, phase.trial) for phase in exploit.lineage[1:]] == [(2, 0), (6, 1)]


@pytest.mark.parametrize("option", ["interval:0", "interval:1.5", "quantile:0", "quantile:0.6"])
def test_options_are_checked(option: str, tmp_path: Path) -> None:
    done = call(f"{SWEEP} 'hydra.sweeper.pruner_options={{{option}}}'", tmp_path)
    assert (done.returncode, option.partition(":")[0] in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=range(2)", "seed=range(2): must be one value"),
        ("model.init=choice(default,normal)", "must be one value"),
        ("model.dropout=interval(0.0,0.5)", "must be above 0"),
        ("optimizer=sgd optimizer.momentum=choice(0,0.9)", "must be above 0"),
        ("scheduler=cosine", "scheduler=cosine: must be none"),
        ("trainer.check_val_every_n_epoch=2", "must be 1"),
        ("~callbacks.checkpoint", "callbacks.checkpoint: must be there"),
        ("+callbacks.phases={_target_:mnist_lab.training.Phases}", "must be left out"),
        ("hydra.sweeper.sampler=grid", "an interval has no grid"),
        ("hydra.sweeper.batch_size=2", "must be null with pruner=population"),
    ],
)
def test_what_it_does_not_go_with_is_refused(override: str, words: str, tmp_path: Path) -> None:
    done = call(f"{SWEEP} {override}", tmp_path)
    assert (done.returncode, done.stderr.count("\n"), words in done.stderr) == (2, 1, True)
    assert not list(tmp_path.iterdir())


def outcome(folder: Path) -> dict[int, Any]:
    """Return how each trial has ended: its values, its lineage, and the hashes of its weights."""
    result = {}
    for record in Ledger(folder):
        manifest = json.loads((folder / str(record.directory) / MANIFEST).read_text())
        assert record.state == manifest["state"] == "finished"
        assert (folder / str(record.directory) / LAST).exists()
        assert manifest.get("lineage", []) == [vars(phase) for phase in record.lineage]
        result[record.number] = (record.values, record.lineage, manifest["sha256"])
    return result


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("population")
    done = call(f"{SWEEP} hydra/launcher=fused", folder)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    return folder / "s"


@pytest.mark.parametrize("launcher", ["basic", pytest.param("parallel", marks=pytest.mark.slow)])
def test_each_launcher_decides_the_same(launcher: str, fused: Path, tmp_path: Path) -> None:
    done = call(f"{SWEEP} hydra/launcher={launcher}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "s") == outcome(fused)


def test_its_winner_trains_again_alone_to_the_same_bits(fused: Path, tmp_path: Path) -> None:
    board = json.loads((fused / "leaderboard.json").read_text())
    best = next(trial for trial in board["trials"] if trial["number"] == board["best"])
    assert len(best["lineage"]) > 1
    done = call(f"train --config-dir {fused} experiment=best hydra.run.dir=r", tmp_path)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "r" / MANIFEST).read_text())
    assert again["sha256"] == outcome(fused)[board["best"]][2]


@pytest.mark.parametrize("launcher", [pytest.param("basic", marks=pytest.mark.thorough), "fused"])
def test_a_kill_between_a_checkpoint_and_its_report_changes_nothing(
    launcher: str, fused: Path, tmp_path: Path
) -> None:
    ended_early, calls = Trial.ended_early, 0

    def or_die(trial: Trial, error: Diverged | Paused | Pruned) -> None:
        nonlocal calls
        calls += isinstance(error, Paused)
        if isinstance(error, Paused) and calls in (1, 3, 6):
            raise Killed
        ended_early(trial, error)

    command = f"{SWEEP} hydra/launcher={launcher}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "ended_early", or_die)
        for _ in range(3):
            with pytest.raises(Killed):
                call(command, tmp_path)
        assert call(command, tmp_path).returncode == 0
    assert outcome(tmp_path / "s") == outcome(fused)


def test_a_kill_at_any_write_of_an_exploit_changes_nothing(fused: Path, tmp_path: Path) -> None:
    exploit, rename = Rungs._exploit, atomic._rename
    tries: Counter[tuple[int, int]] = Counter()  # of an exploit, each killed a write later
    left = math.inf

    def watched(rungs: Rungs, chosen: Exploit) -> None:
        nonlocal left
        key = (chosen.loser.number, chosen.lineage[-1].epoch)
        left, tries[key] = tries[key], tries[key] + 1
        exploit(rungs, chosen)
        left = math.inf

    def or_die(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        rename(*arguments)

    command, kills, done = f"{SWEEP} hydra/launcher=fused", 0, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rungs, "_exploit", watched)
        patch.setattr(atomic, "_rename", or_die)
        while done is None and kills < 20:
            left = math.inf
            try:
                done = call(command, tmp_path)
            except Killed:
                kills += 1
    assert done is not None
    assert done.returncode == 0, done.stderr
    assert kills > 6
    assert outcome(tmp_path / "s") == outcome(fused)


@pytest.mark.thorough
def test_a_kill_at_any_save_of_a_stack_changes_nothing(fused: Path, tmp_path: Path) -> None:
    save, left, kills, done = AtomicCheckpointIO.save_checkpoint, 0, 0, None

    def or_die(*arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        save(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", or_die)
        while done is None:
            left = 1 + kills // 2
            try:
                done = call(f"{SWEEP} hydra/launcher=fused", tmp_path)
            except Killed:
                kills += 1
    assert done.returncode == 0, done.stderr
    assert kills > 4
    assert outcome(tmp_path / "s") == outcome(fused)


def test_a_rung_that_some_have_left_is_not_decided_again(tmp_path: Path) -> None:
    ledger, records = Ledger(tmp_path), waiting(0.9, 0.1, 0.5)
    for record in records:
        ledger.write(record)
    study = SimpleNamespace(address=SimpleNamespace(directions=("maximize",)))
    rungs = Rungs(Population(), study, ledger, SPACE, 0, 3)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        exploits: list[Exploit] = []
        patch.setattr(Rungs, "_exploit", lambda _, exploit: exploits.append(exploit))
        assert rungs.go_on(records) == records
        assert [exploit.loser.number for exploit in exploits] == [1]
        records[0].state = RunState.FINISHED
        ledger.write(records[0])
        assert rungs.go_on(records[1:]) == records[1:]
        assert len(exploits) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "seconds"),
    [*itertools.product(["basic", "fused"], [0.1, 0.6, 1.5]), ("parallel", 0.6)],
)
def test_after_a_kill_it_decides_the_same(
    seconds: float, launcher: str, fused: Path, tmp_path: Path
) -> None:
    words = shlex.split(f"{SWEEP} hydra/launcher={launcher}")
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
    assert outcome(tmp_path / "s") == outcome(fused)
