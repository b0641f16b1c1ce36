"""Sweeps that are refused when their directory and study are opened."""

from pathlib import Path

import pytest
from door import run, without_torch
from sweeping import SOFTMAX

from mnist_lab.cli.main import main
from mnist_lab.runs.directory import MANIFEST

pytestmark = pytest.mark.usefixtures("mnist_files", "elsewhere")


def test_another_sweep_in_the_directory_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "-m", *SOFTMAX, "trainer.fast_dev_run=true", "hydra.sweep.dir=s"]
    assert main([*command, "seed=1,2"]) == 0
    capsys.readouterr()
    for words, message in (
        ("seed=1,3", "holds another sweep (seed=1,2 there, seed=1,3 here)"),
        ("seed=1,2 trainer.max_epochs=7", "trainer.max_epochs=1 there, 7 here"),
        ("seed=1,2 hydra.sweeper.sampler=random", "sampler=grid there, random here"),
        (
            "seed=1,2 hydra.sweeper.storage=j hydra.sweeper.study_name=n",
            "hydra.sweeper.storage=j: must be null as when",
        ),
    ):
        assert main([*command, *words.split()]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("sampler_options={n_startup_trials:abc}", 2, "sampler_options: must be arguments of"),
        ("pruner=median hydra.sweeper.pruner_options={n_startup_trials:abc}", 2, "MedianPruner;"),
        ("sampler_options={n_startup_trials:1,n_ei_candidates:abc}", 2, "of optuna's TPESampler"),
        ("pruner=hyperband hydra.sweeper.pruner_options={reduction_factor:abc}", 2, "HyperbandPr"),
        ("storage=note.txt hydra.sweeper.study_name=n", 3, "note.txt: not an Optuna journal"),
        ("storage=bytes hydra.sweeper.study_name=n", 3, "bytes: not an Optuna journal"),
        (
            "storage=sqlite:///note.txt hydra.sweeper.study_name=n",
            3,
            "note.txt: not an Optuna study",
        ),
    ],
)
def test_what_optuna_looks_at_late_is_refused_first(
    words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("note.txt").write_text("hello")
    Path("bytes").write_bytes(b"\xca\xfe is no journal\n")
    space = "optimizer.lr=interval(1e-4,1e-2)"
    arguments = [space, "hydra.sweep.dir=s", *f"hydra.sweeper.{words}".split()]
    assert main(["train", "-m", *SOFTMAX, *arguments]) == code
    error = capsys.readouterr().err
    assert (message in error, error.count("\n")) == (True, 1), error
    assert not Path("s").exists()
    assert Path("note.txt").read_text() == "hello"


def test_runs_of_no_sweep_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s/0").mkdir(parents=True)
    Path("s/0", MANIFEST).write_text("{}")
    assert main(["train", "-m", *SOFTMAX, "seed=1,2", "hydra.sweep.dir=s"]) == 2
    assert "holds runs that are of no sweep" in capsys.readouterr().err
    assert [path.name for path in Path("s").iterdir()] == ["0"]


def test_a_record_that_is_lost_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "-m", *SOFTMAX, "seed=1,2", "hydra.sweep.dir=s"]
    assert main(arguments) == 0
    Path("s/ledger/00001.json").unlink()
    capsys.readouterr()
    assert main(arguments) == 3
    assert "s: lacks the record of trial 1, which its study has" in capsys.readouterr().err


@pytest.mark.thorough
def test_bad_sweeps_are_told_of_without_torch(tmp_path: Path) -> None:
    """Neither is Optuna imported."""
    environment = without_torch(tmp_path)
    fake = tmp_path / "without" / "optuna"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise RuntimeError('optuna was imported')\n")
    for words, message in (
        ("optimizer.lrr=interval(0,1)", "optimizer.lrr: no such key; did you mean optimizer.lr?"),
        ("optimizer.lr=interval(1,0.1)", "must go from the smaller number to the larger one"),
        ("optimizer.lr=interval(-1,1)", "optimizer.lr=-1.0: must be a number above 0"),
        ("hydra/launcher=basic,joblib", "hydra/launcher=basic,joblib: must have one value"),
        ("seed=1,2 hydra.sweeper.sampler=tpee", "did you mean tpe?"),
        ("seed=1,2 hydra.sweeper.ntrials=3", "did you mean hydra.sweeper.n_trials?"),
    ):
        done = run(f"train -m {words}", tmp_path, **environment)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    assert not (tmp_path / "outputs").exists()
