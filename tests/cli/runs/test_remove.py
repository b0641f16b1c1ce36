"""``mnist-lab runs rm`` and ``gc`` through the shipped door."""

from pathlib import Path

import pytest
from door import call
from made_runs import make_run, note

from mnist_lab.runs.directory import hold


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Runs of 96, 97 and 98 %, and a sweep."""
    for number in range(3):
        make_run(tmp_path / f"outputs/runs/a{number}", 0, 0.96 + number / 100)
    for seed in (0, 1):
        make_run(tmp_path / f"outputs/sweeps/s/{seed}", seed, 0.95 + seed / 20)
    (tmp_path / "outputs/sweeps/s/sweep.json").write_text("{}")
    (tmp_path / "outputs/sweeps/s/ledger").mkdir()
    return tmp_path


def listed(folder: Path) -> list[str]:
    done = call("runs --trials --columns run --csv", folder)
    return sorted(done.stdout.split()[1:])


def test_all_below_97_percent_go_and_come_back(outputs: Path) -> None:
    before = listed(outputs)
    done = call("runs rm --where 'val/acc<97%'", outputs)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["outputs/sweeps/s/0", "outputs/runs/a0"]
    assert lines[-1] == "mnist-lab runs rm --yes removes these 2 runs"
    assert listed(outputs) == before
    done = call("runs rm --yes --where 'val/acc<97%'", outputs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "mnist-lab runs rm --undo puts them back"
    assert listed(outputs) == [
        *("outputs/runs/a1", "outputs/runs/a2", "outputs/sweeps/s/1"),
    ]
    done = call("runs rm --undo", outputs)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == [
        "put back: outputs/runs/a0",
        "put back: outputs/sweeps/s/0",
    ]
    assert listed(outputs) == before


def test_a_sweep_goes_as_one(outputs: Path) -> None:
    done = call("runs rm outputs/sweeps/s outputs/sweeps/s/0 outputs/runs/a0", outputs)
    assert done.returncode == 0
    assert listed(outputs) == ["outputs/runs/a1", "outputs/runs/a2"]
    assert call("runs rm --undo outputs/sweeps/s", outputs).returncode == 0
    assert (outputs / "outputs/sweeps/s/sweep.json").exists()
    assert not (outputs / "outputs/runs/a0").exists()


@pytest.mark.parametrize("lock", ["runs/a1/.lock", "sweeps/s/ledger/host-1-a.lock"])
@pytest.mark.parametrize(
    "words", ["rm outputs/runs/a1 outputs/runs/a0 outputs/sweeps/s", "rm --yes --where 'val/acc>0'"]
)
def test_one_that_runs_is_refused_and_nothing_goes(words: str, lock: str, outputs: Path) -> None:
    before = listed(outputs)
    path = outputs / "outputs" / lock
    with hold(path, path.parent):
        done = call(f"runs {words}", outputs)
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    assert listed(outputs) == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("rm", 2, "are required"),
        ("rm outputs", 3, "no directory of a run"),
        ("rm --where 'val/acc>100%'", 3, "no such runs"),
        ("rm --where 'val/acc>2' --yes", 2, "an accuracy is at most 1"),
        ("rm outputs/runs/a0 --where '' --yes", 2, "--where: must have a term"),
        ("rm --undo", 3, "nothing that was removed"),
        ("gc --only everything", 2, "must be of"),
        ("gc nowhere", 3, "no such directory"),
        ("archive outputs", 3, "no directory of a run"),
        ("archive outputs/runs/a0 -o outputs/runs/a0/x.zip", 2, "must not be in"),
    ],
)
def test_a_mistake_is_one_line(words: str, code: int, message: str, outputs: Path) -> None:
    done = call(f"runs {words}", outputs)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def littered(outputs: Path) -> Path:
    """Beside good runs: one that failed, a broken one, one that never began, and leftovers."""
    runs = outputs / "outputs/runs"
    for name in ("a0", "a1"):
        (runs / name / "checkpoints").mkdir()
        for file in ("best", "last", "previous"):
            (runs / name / f"checkpoints/{file}.ckpt").write_bytes(b"x" * 1000)
    (runs / "a0/.1.partial").write_bytes(b"half")
    (make_run(runs / "failed", 0, 0.9) / "metrics.json").unlink()
    note(runs / "failed", state="failed")
    (make_run(runs / "broken", 0, 0.9) / "config.yaml").write_text("[")
    (runs / "unbegun/.hydra").mkdir(parents=True)
    (outputs / "outputs/sweeps/s/jobs").mkdir()
    (outputs / "outputs/sweeps/s/jobs/log").write_text("x" * 500)
    (outputs / "outputs/sweeps/s/ledger/host-1-a.lock").touch()
    (outputs / "conf").mkdir()
    (outputs / "conf/config.yaml").write_text("mine: 1")
    return outputs


def test_gc_says_first_and_removes_when_asked(littered: Path) -> None:
    done = call("runs gc .", littered)
    assert done.returncode == 0
    rows = {line.split()[0]: line.split()[1:4] for line in done.stdout.splitlines()[2:-1]}
    assert rows["incomplete"][0] == "2"
    assert rows["broken"][0] == "1"
    assert rows["previous"] == ["2", "2", "kB"]
    assert rows["leftovers"] == ["3", "504", "B"]
    assert (littered / "outputs/runs/failed").exists()
    assert call("runs gc --yes --only previous", littered).returncode == 0
    assert not list(littered.rglob("previous.ckpt"))
    assert len(list(littered.rglob("last.ckpt"))) == 2
    assert call("runs gc . --yes", littered).returncode == 0
    assert listed(littered) == [
        *(f"outputs/runs/a{number}" for number in range(3)),
        *(f"outputs/sweeps/s/{number}" for number in range(2)),
    ]
    assert (littered / "conf/config.yaml").exists()
    assert not (littered / "outputs/sweeps/s/jobs").exists()
    assert call("runs rm --undo", littered).returncode == 0
    assert (littered / "outputs/runs/failed").exists()
    assert (littered / "outputs/runs/broken").exists()


def test_gc_empties_the_trash(outputs: Path) -> None:
    call("runs rm outputs/runs/a0", outputs)
    assert "trash" in call("runs gc", outputs).stdout
    assert call("runs gc --yes", outputs).returncode == 0
    assert not (outputs / "outputs/.trash").exists()
    assert call("runs gc", outputs).stdout == "nothing to remove\n"


def test_gc_leaves_what_runs_alone(littered: Path) -> None:
    """A run that resumes after it has failed is running, and so is a sweep with a live owner."""
    runs, sweep = littered / "outputs/runs", littered / "outputs/sweeps/s"
    note(runs / "failed", state="running")
    for name in ("a0", "unbegun"):
        (runs / name / ".lock").touch()
    files = sorted(path for path in littered.rglob("*") if path.is_file())
    with (
        hold(runs / "failed/.lock", runs),
        hold(runs / "a0/.lock", runs),
        hold(runs / "a1/.lock", runs),
        hold(runs / "broken/.lock", runs),
        hold(runs / "unbegun/.lock", runs),
        hold(sweep / "ledger/host-1-a.lock", sweep),
    ):
        done = call("runs gc --yes", littered)
    assert done.returncode == 6
    assert all(line.startswith("mnist-lab runs: left:") for line in done.stderr.splitlines())
    assert [path for path in files if not path.exists()] == []
