"""A run directory has one run: nothing writes where there is one, or where one is being made."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from door import COMMAND, FEW_BATCHES, call, run
from omegaconf import OmegaConf

from mnist_lab.runs import directory
from mnist_lab.runs.directory import MANIFEST, METRICS, locked

EARLIER = Path(__file__).parents[1] / "golden" / "directories"
SHORT = f"model=softmax callbacks=none {FEW_BATCHES}"
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_finished_run_is_shown_again_and_not_written_over(tmp_path: Path) -> None:
    command = f"train {SHORT} hydra.run.dir=here"
    assert call(command, tmp_path).returncode == 0
    before = content(tmp_path)
    again = call(command, tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "finished already" in again.stdout
    changed = {name for name, held in content(tmp_path).items() if before.get(name) != held}
    assert {Path(name).name for name in changed} <= {"train.log"}


@pytest.mark.parametrize("earlier", ["mlp", "run_0.2.0"])
def test_the_command_of_a_run_of_an_earlier_version_shows_it_again(
    earlier: str, tmp_path: Path
) -> None:
    """Which lacks keys that there were not yet."""
    here = tmp_path / "here"
    shutil.copytree(EARLIER / earlier, here)
    words = OmegaConf.load(here / ".hydra" / "overrides.yaml")
    typed = [str(word) for word in words if not str(word).startswith("hydra.")]
    again = call(f"train {shlex.join(typed)} hydra.run.dir=here", tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "finished already" in again.stdout


def test_a_run_of_another_config_is_refused(tmp_path: Path) -> None:
    assert call(f"train {SHORT} hydra.run.dir=here", tmp_path).returncode == 0
    before = content(tmp_path)
    other = call(f"train {SHORT} hydra.run.dir=here seed=1", tmp_path)
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr == (
        "mnist-lab train: here: holds a run of another config (data.seed=0 there, 1 here; "
        "seed=0 there, 1 here); choose another directory, or resume that run: "
        "mnist-lab resume here\n"
    )
    assert content(tmp_path) == before


@pytest.mark.parametrize("is_old", [False, True])
def test_a_directory_in_use_is_exit_6(is_old: bool, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with locked(here):
        if is_old:
            (here / MANIFEST).write_text("{}")
        before = content(tmp_path)
        busy = run(f"train {SHORT} hydra.run.dir=here", tmp_path)
        assert content(tmp_path) == before
    assert (busy.returncode, busy.stdout) == (6, "")
    assert busy.stderr == (
        "mnist-lab train: here: another process is using this directory; wait for it or stop it\n"
    )


def test_of_two_that_race_one_runs(tmp_path: Path) -> None:
    """Also where the directory's name has a time in it, which Hydra composes twice."""
    command = [COMMAND, "train", *SHORT.split(), "hydra.run.dir=${now:%Y}"]
    processes = [
        subprocess.Popen(
            [*command, f"seed={seed}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 6], errors
    assert len(errors[codes.index(6)].splitlines()) == 1
    (run_dir,) = tmp_path.iterdir()
    assert json.loads((run_dir / MANIFEST).read_text())["state"] == "finished"
    seed = codes.index(0) + 1
    for name in ("config.yaml", ".hydra/config.yaml"):
        assert f"\nseed: {seed}\n" in (run_dir / name).read_text()


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([], id="lightning", marks=pytest.mark.slow),
        pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.slow),
    ],
)
def test_ranks_share_the_directory_that_they_are_given(launcher: list[str], tmp_path: Path) -> None:
    options = [*SHORT.split(), "trainer=ddp_cpu", "hydra.run.dir=here"]
    command = [sys.executable, *launcher, "-m", "mnist_lab", "train", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / METRICS).exists()


def test_a_rank_above_0_is_not_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "is_rank_zero", lambda: False)
    (tmp_path / MANIFEST).write_text("{}")
    with directory.claimed(tmp_path):
        assert not (tmp_path / directory.LOCK).exists()


def test_an_unnamed_sweep_has_one_directory(tmp_path: Path) -> None:
    assert call(f"train -m seed=1,2 {SHORT}", tmp_path).returncode == 0
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").iterdir()
    numbers = {path.name for path in sweep_dir.iterdir() if path.name.isdecimal()}
    assert numbers == {"0", "1"}
    assert (sweep_dir / "leaderboard.csv").exists()
