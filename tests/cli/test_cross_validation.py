"""mnist-lab train cv=K: the folds as one sweep, each the run that it is alone."""

import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from door import COMMAND, call
from sweeping import records

from mnist_lab.runs.manifest import RunState

_SMALL = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=30 'model.hidden_dims=[32]' "
    "logger=none"
)


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cross-validation of three folds and two learning rates, and what it printed."""
    folder = tmp_path_factory.mktemp("crossed")
    done = call(f"train cv=3 optimizer.lr=1e-2,1e-3 {_SMALL} hydra.sweep.dir=s", folder)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stderr
    return folder, done.stdout


@pytest.mark.thorough
def test_a_fold_has_the_bits_of_its_lone_run(crossed: tuple[Path, str]) -> None:
    folder, _ = crossed
    done = call(
        f"train data.folds=3 data.fold=2 optimizer.lr=1e-2 {_SMALL} ~callbacks.pictures "
        "hydra.run.dir=lone",
        folder,
    )
    assert done.returncode == 0, done.stderr
    lone, fold = (
        {
            name: value
            for name, value in json.loads((folder / place / "metrics.json").read_text()).items()
            if not name.startswith("time/")
        }
        for place in ("lone", "s/2")
    )
    assert fold == lone
    assert fold["val/acc"] > 0.8
    shas = [
        json.loads((folder / place / "manifest.json").read_text())["sha256"]
        for place in ("lone", "s/2")
    ]
    assert shas[0]["model"] == shas[1]["model"]


def test_the_table_has_mean_and_interval(crossed: tuple[Path, str]) -> None:
    folder, printed = crossed
    lines = printed.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("mean of folds"))
    cells = [re.split(r" {2,}", line.strip()) for line in lines[start + 3 : start + 5]]
    assert [row[:2] for row in cells] == [["0.01", "3"], ["0.001", "3"]]  # the best first
    finished = [json.loads((folder / "s" / f"{n}" / "metrics.json").read_text()) for n in range(3)]
    mean = sum(metrics["val/acc"] for metrics in finished) / 3
    assert cells[0][2] == f"{mean:.2%}"
    low, _, high = cells[0][3].partition(" to ")
    assert float(low) < mean * 100 < float(high.removesuffix("%"))
    assert "train the best again" not in printed
    assert not (folder / "s" / "experiment").exists()  # the best fold is no setting


def test_a_fold_is_evaluated_and_reported_as_any_run(crossed: tuple[Path, str]) -> None:
    folder, _ = crossed
    done = call("evaluate s/0 s/1 s/2 --ensemble --json", folder)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    own = json.loads((folder / "s/1/metrics.json").read_text())
    assert content["runs"]["s/1"]["val/loss"] == own["val/loss"]
    assert content["ensemble"].keys() == {"test/acc", "test/loss"}  # folds validate on others
    rows = json.loads(call("report s --json", folder).stdout)
    assert [row["n"] for row in rows["rows"] if isinstance(rows, dict)] == [3, 3]


def test_it_is_resumed(crossed: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = crossed
    monkeypatch.chdir(folder)
    done = call("resume s", folder)
    assert done.returncode == 0, done.stderr
    assert [record.state for record in records()] == [RunState.FINISHED] * 6
    assert "mean of folds" in done.stdout


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("sweep=mlp_search", "sweep=mlp_search: must be left out with cv, as it draws its trials"),
        ("sweep=mlp_tradeoff", "sweep=mlp_tradeoff: must be left out with cv"),
        ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_trials: must be left out with cv"),
    ],
)
def test_a_search_is_refused_with_what_to_do(typed: str, line: str, tmp_path: Path) -> None:
    done = call(f"train cv=5 {typed} hydra.sweep.dir=s", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert line in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_killed_inside_it_ends_with_the_same_table(launcher: str, tmp_path: Path) -> None:
    command = (
        "train cv=3 model=mlp model.hidden_dims=[16] model.dropout=0.2 trainer=cpu logger=none "
        "trainer.max_epochs=4 trainer.enable_model_summary=false ~callbacks.pictures "
        f"callbacks.checkpoint.every_n_seconds=0 hydra/launcher={launcher} hydra.sweep.dir="
    )
    whole = call(f"{command}whole", tmp_path)
    assert whole.returncode == 0, whole.stderr
    saved = tmp_path / "killed" / "1" / "checkpoints" / "last.ckpt"
    words = [COMMAND, *shlex.split(f"{command}killed")]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        for _ in range(6000):
            if saved.exists():
                break
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "2" / "metrics.json").exists()
    done = call(f"{command}killed", tmp_path)
    assert done.returncode == 0, done.stderr
    tables = [
        text[text.index("mean of folds") :].partition("\n3 trials")[0]
        for text in (whole.stdout, done.stdout)
    ]
    assert tables[0] == tables[1]
    for fold in range(3):
        manifests = [tmp_path / name / str(fold) / "manifest.json" for name in ("whole", "killed")]
        shas = [json.loads(path.read_text())["sha256"] for path in manifests]
        assert shas[0] == shas[1]
