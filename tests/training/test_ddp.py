"""Several processes train what one trains, however they are started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from door import call, run

RELU = "model.dropout=0 model.activation=relu"


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ("model.dropout=0", 1e-4),  # the default otherwise
        pytest.param("model=softmax", 1e-4, marks=pytest.mark.slow),
        pytest.param(
            f"{RELU} model.hidden_dims=[65,65] optimizer=sgd optimizer.lr=0.1",
            1e-4,
            marks=pytest.mark.slow,
        ),
        # A ReLU whose input is within rounding of 0 has a gradient on one side and none on the
        # other, after which two float32 runs part; in double precision none comes so near.
        pytest.param(f"{RELU} trainer.precision=64-true", 1e-13, marks=pytest.mark.slow),
        pytest.param(
            f"model=cnn {RELU} model.channels=[8,16] trainer.precision=64-true",
            1e-13,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_same_weights_after_an_epoch(options: str, tolerance: float, tmp_path: Path) -> None:
    weights = []
    for trainer, do in (("cpu", call), ("ddp_cpu", run)):
        done = do(
            f"train {options} trainer={trainer} trainer.max_epochs=1 logger=none "
            f"data.batch_size=250 data.augment=affine hydra.run.dir={trainer}",
            tmp_path,
        )
        assert done.returncode == 0, done.stderr
        path = tmp_path / trainer / "checkpoints" / "last.ckpt"
        weights.append(torch.load(path, weights_only=True)["state_dict"])
    one, two = weights
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=0, atol=tolerance), name


SHORT = [
    "trainer=ddp_cpu",
    "model=softmax",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=10",
    "trainer.log_every_n_steps=5",
]


def _metrics(folder: Path) -> dict[str, float]:
    (run_dir,) = (folder / "outputs" / "runs").iterdir()  # one, whatever the number of ranks
    metrics: dict[str, float] = json.loads((run_dir / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


@pytest.mark.slow
def test_torchrun_and_srun_give_what_the_lab_starts_itself(tmp_path: Path) -> None:
    module = ["-m", "mnist_lab", "train", *SHORT]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *module]
    found = []
    for name, command in (("own", [sys.executable, *module]), ("torchrun", torchrun)):
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(_metrics(folder))
    folder = tmp_path / "srun"
    folder.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, *module],
            cwd=folder,
            env=os.environ | _slurm(rank) | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    found.append(_metrics(folder))
    assert not list(tmp_path.glob("mnist_lab_rank_*"))
    assert found[0] == found[1] == found[2]


def _slurm(rank: int) -> dict[str, str]:
    """Return what srun sets for a task of two on this machine."""
    return {
        "SLURM_JOB_ID": str(40_000 + os.getpid() % 10_000),  # Lightning's port follows from it
        "SLURM_JOB_NAME": "lab",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }


UNSYNCED = """\
import lightning as L
import torch
class Net(L.LightningModule):
    def __init__(self, **_):
        super().__init__()
        self.layer = torch.nn.Linear(784, 10)
    def training_step(self, batch, batch_idx):
        logits = self.layer(batch[0].flatten(1).float() / 255)
        return torch.nn.functional.cross_entropy(logits, batch[1])
    def validation_step(self, batch, batch_idx):
        epoch = float(self.current_epoch)
        self.log("val_loss", 1 / (epoch + 1) if self.global_rank == 0 else epoch)
    test_step = training_step
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


@pytest.mark.slow
def test_ranks_that_log_each_its_own_keep_the_same_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unsynced.py").write_text(UNSYNCED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run(
        "train model._target_=unsynced.Net allow_targets=[unsynced.] monitor=val_loss mode=min "
        "trainer=ddp_cpu trainer.max_epochs=3 trainer.limit_train_batches=10 logger=none "
        "trainer.limit_test_batches=0 ~callbacks.pictures hydra.run.dir=run",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    best, last = (
        torch.load(tmp_path / "run/checkpoints" / name, weights_only=True)["global_step"]
        for name in ("best.ckpt", "last.ckpt")
    )
    assert best == last == 30  # of rank 0, whose metrics are the run's
