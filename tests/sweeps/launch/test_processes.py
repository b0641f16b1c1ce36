"""Trials in other processes: what they leave, and what a process that dies costs."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit
from door import COMMAND, FEW_BATCHES, call, run
from omegaconf import OmegaConf

from mnist_lab.runs.directory import MANIFEST, METRICS
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.launch.processes import Job, ParallelLauncher
from mnist_lab.sweeps.records import Ledger
from mnist_lab.training.cores import usable_cores

TRIALS = f"model=mlp model.hidden_dims=[16] {FEW_BATCHES} optimizer.lr=1e-3,1e-2 seed=1,2"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What the trials leave one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    return swept(folder, "hydra/launcher=basic", call)


def swept(
    folder: Path, words: str, do: Callable[[str, Path], subprocess.CompletedProcess[str]] = run
) -> dict[int, dict[str, Any]]:
    done = do(f"train -m {TRIALS} hydra.sweep.dir=s {words}", folder)
    assert done.returncode == 0, done.stderr
    assert [record.state for record in Ledger(folder / "s")] == [RunState.FINISHED] * 4
    return results(folder / "s")


def results(sweep: Path) -> dict[int, dict[str, Any]]:
    """Return what trials have in common, however they were run."""
    results = {}
    for number in range(4):
        metrics = json.loads((sweep / str(number) / METRICS).read_text())
        manifest = json.loads((sweep / str(number) / MANIFEST).read_text())
        measured = {name: value for name, value in metrics.items() if not name.startswith("time/")}
        results[number] = {**measured, "sha256": manifest["sha256"]}
    return results


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("hydra/launcher=parallel", marks=pytest.mark.thorough),
        pytest.param(
            "hydra/launcher=parallel hydra.launcher.fused=true hydra.launcher.workers=2",
            marks=pytest.mark.slow,
        ),
        pytest.param("hydra/launcher=ray", marks=pytest.mark.slow),
        pytest.param(
            "hydra/launcher=ray hydra.launcher.fused=true hydra.launcher.per_job=2",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "hydra/launcher=slurm hydra.launcher.parameters={time:10,cpus_per_task:1}",
            marks=pytest.mark.skipif(shutil.which("sbatch") is None, reason="no SLURM"),
        ),
    ],
)
def test_trials_are_what_they_are_alone(
    words: str, alone: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    assert swept(tmp_path, words) == alone


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_one_more_start(
    alone: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    command = [COMMAND, "train", "-m", *TRIALS.split(), "hydra/launcher=parallel"]
    sweep = tmp_path / "s"
    process = subprocess.Popen(
        [*command, f"hydra.sweep.dir={sweep}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    manifest = sweep / "2" / MANIFEST
    start = time.monotonic()
    while not manifest.exists():
        assert time.monotonic() - start < 300
        time.sleep(0.01)
    worker = json.loads(manifest.read_text())["attempts"][-1]["pid"]
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert [record.attempts for record in Ledger(sweep)] == [1, 1, 2, 1]
    assert results(sweep) == alone


def test_each_process_has_its_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_lab.training.cores.given_cores", lambda: 16)
    monkeypatch.setattr("mnist_lab.training.cores._shares", lambda: iter([8.0]))  # a container's
    launcher = ParallelLauncher()
    assert (launcher.workers, launcher.threads) == (8, 1)
    assert (ParallelLauncher(workers=3).threads, ParallelLauncher(workers=3).stack_size(7)) == (
        2,
        3,
    )


@pytest.mark.parametrize(
    ("given", "count", "gpus"),
    [
        (None, 2, ["0", "1"]),
        ("2,5", 2, ["2", "5"]),
        ("2, 3", 2, ["2", "3"]),
        ("GPU-5d7c,GPU-9f00", 2, ["GPU-5d7c", "GPU-9f00"]),
        ("MIG-1a2b", 1, ["MIG-1a2b"]),
        ("1,-1,2", 1, ["1"]),
        ("0,1", 0, []),
        ("", 0, []),
    ],
)
def test_gpus_are_given_by_the_systems_names(
    given: str | None, count: int, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    launcher = ParallelLauncher()
    assert launcher._gpus == gpus
    assert launcher.workers == (len(gpus) or usable_cores())


def test_each_job_has_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Job] = []

    class Executor(submitit.LocalExecutor):
        def submit(self, job: Job, *_: Any) -> Any:
            submitted.append(job)
            paths = SimpleNamespace(submitted_pickle=tmp_path / "a", result_pickle=tmp_path / "b")
            return SimpleNamespace(done=lambda: True, exception=lambda: None, paths=paths)

    monkeypatch.setattr(submitit, "LocalExecutor", Executor)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5d7c, GPU-9f00")
    launcher = ParallelLauncher(workers=2)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    job = Job(None, SimpleNamespace(stopped_by=None), None, [], [], False)  # type: ignore[arg-type]
    assert list(launcher.run([job, job])) == []
    assert [job.gpu for job in submitted] == ["GPU-5d7c", "GPU-9f00"]
    monkeypatch.setattr("threading.Thread.start", lambda _: None)  # which ends it with its starter
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    submitted[1]()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-9f00"


def test_a_job_names_its_trials() -> None:
    def named(count: int) -> str:
        return Job(None, None, None, [[]] * count, range(3, 3 + count), False).name  # type: ignore[arg-type]

    assert [named(1), named(4)] == ["trial 3", "trials 3 to 6"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("parallel hydra.launcher.workers=0", "hydra.launcher.workers=0: must be"),
        ("fused hydra.launcher.max_stack=0", "hydra.launcher.max_stack=0: must be"),
        ("slurm hydra.launcher.parameters=5", "must be a mapping"),
        ("ray hydra.launcher.num_cpus=-1", "hydra.launcher.num_cpus=-1.0: must be"),
        ("paralel", "hydra/launcher=paralel"),
        ("parallel hydra/sweeper=basic", "hydra/launcher=parallel: needs hydra/sweeper=study"),
        ("fused hydra/sweeper=basic", "hydra/launcher=fused: needs hydra/sweeper=study"),
    ],
)
def test_bad_settings_are_one_line(words: str, message: str, tmp_path: Path) -> None:
    done = call(f"train -m seed=1,2 hydra/launcher={words}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert not any(tmp_path.iterdir())
