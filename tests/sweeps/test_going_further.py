"""A finished sweep goes further: more points, a wider space, more trials."""

import json
from pathlib import Path

import pytest
from door import main
from sweeping import SOFTMAX, records, study

from mnist_lab.sweeps.records import Ledger
from mnist_lab.sweeps.space import is_wider, parse_space

pytestmark = pytest.mark.usefixtures("mnist_files", "elsewhere")

FAST = [*SOFTMAX, "trainer.fast_dev_run=true", "hydra.sweep.dir=s"]


def sweep(*arguments: str) -> int:
    return main(["train", "-m", *FAST, *arguments])


@pytest.mark.parametrize(
    ("before", "now", "is_wider_now"),
    [
        ("seed=1,2", "seed=2,1,3", True),
        ("seed=1,2", "seed=1,3", False),
        ("seed=1,2", "seed=1", False),
        ("seed=range(3)", "seed=range(5)", True),
        ("lr=interval(1,2)", "lr=interval(0,2)", True),
        ("lr=interval(1.0,2.0)", "lr=interval(0.5,2.0)", True),
        ("lr=interval(1.0,2.0)", "lr=interval(1.5,3.0)", False),
        ("lr=tag(log,interval(1e-3,1e-2))", "lr=tag(log,interval(1e-4,1e-1))", True),
        ("lr=tag(log,interval(1e-3,1e-2))", "lr=interval(1e-4,1e-1)", False),
        ("n=int(interval(2,5))", "n=int(interval(1,9))", True),
        ("n=int(interval(2,5))", "n=interval(1.5,9.0)", False),
        ("lr=1,2", "seed=1,2", False),
        ("kind=choice(a,b)", "kind=choice(a,b,c)", True),
        ("kind=choice(a,b)", "kind=interval(0,1)", False),
    ],
)
def test_a_wider_space(before: str, now: str, is_wider_now: bool) -> None:
    is_grid = "interval" not in before + now
    spaces = [parse_space({}, [text], is_grid=is_grid) for text in (now, before)]
    assert is_wider(*spaces) == is_wider_now


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["resume", "again"])
def test_a_grid(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("seed=1,3", "model.init=zeros,normal") == 0
    before = records()
    further = ["seed=3,2,1"]
    code = (
        main(["resume", "s", *further])
        if how == "resume"
        else sweep("model.init=zeros,normal", *further)
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "s: goes further, seed=3,2,1 instead of seed=1,3: its 4 trials stay" in out
    after = records()
    assert after[:4] == before
    assert [record.number for record in after] == list(range(6))
    points = {tuple(sorted(record.params.items())) for record in after}
    assert len(points) == 6
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"] * 6
    board = json.loads(Path("s/leaderboard.json").read_text())
    assert len(board["trials"]) == 6
    assert main(["resume", "s"]) == 0  # by the command that was given last
    assert records() == after
    assert "6 trials, 6 of them done already" in capsys.readouterr().out
    assert sweep("model.init=zeros,normal", "seed=1,3") == 2  # which would drop some
    assert "holds another sweep" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    trials = "hydra.sweeper.n_trials=2"
    assert sweep("optimizer.lr=interval(1e-3,1e-2)", "model.init=choice(zeros,normal)", trials) == 0
    before = records()
    wider = ["optimizer.lr=interval(1e-4,1e-1)", "model.init=choice(default,zeros,normal)"]
    assert main(["resume", "s", *wider, "hydra.sweeper.n_trials=4"]) == 0
    out = capsys.readouterr().out
    assert "a sweep that begins with this space would draw others in their place" in out
    assert records()[:2] == before
    assert len(records()) == 4
    assert study().trials[3].distributions["optimizer.lr"].high == 0.1
    assert main(["resume", "s", "optimizer.lr=interval(1e-3,1e-2)"]) == 2


@pytest.mark.thorough
def test_more_trials_are_those_of_a_longer_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    search = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.init=choice(zeros,normal)"]
    options = [*search, "hydra.sweeper.sampler_options={n_startup_trials:2}"]
    assert sweep(*options, "hydra.sweeper.n_trials=3") == 0
    assert main(["resume", "s", "hydra.sweeper.n_trials=5"]) == 0
    further = [record.params for record in records()]
    assert sweep(*options, "hydra.sweeper.n_trials=5", "hydra.sweep.dir=t") == 0
    assert [record.params for record in records("t")] == further
    assert "2 trials more than before" in capsys.readouterr().out


@pytest.mark.thorough
def test_not_while_another_process_works() -> None:
    assert sweep("seed=1,2") == 0
    with Ledger(Path("s")).owner():
        assert main(["resume", "s", "seed=1,2,3"]) == 6
    assert len(study().trials) == 2
    assert main(["resume", "s", "seed=1,2,3"]) == 0


@pytest.mark.thorough
def test_killed_while_it_widens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep("seed=1,2") == 0

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mnist_lab.sweeps.study.Study.set_identity", die)
        with pytest.raises(KeyboardInterrupt):
            main(["resume", "s", "seed=1,2,3"])
    assert len(study().trials) == 2
    assert main(["resume", "s", "seed=1,2,3"]) == 0
    assert len(study().trials) == 3
    assert not list(Path("s").glob(".*partial*"))


def test_a_shared_study_keeps_its_space(capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["hydra.sweeper.storage=journal", "hydra.sweeper.study_name=mine"]
    assert sweep("seed=1,2", *shared) == 0
    assert sweep("seed=1,2,3", *shared) == 2
    assert "holds another sweep" in capsys.readouterr().err
