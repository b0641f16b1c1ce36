"""The image of the Dockerfile trains."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEW = "trainer.max_epochs=1 trainer.limit_train_batches=3 model=softmax hydra.run.dir=run"


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert {"constraints.txt", "pyproject.toml", "mnist_lab", "conf"} <= {*copied}
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


@pytest.mark.slow
def test_the_image_trains() -> None:
    client = shutil.which("docker")
    if client is None or subprocess.run([client, "info"], capture_output=True).returncode:
        pytest.skip("no Docker daemon answers on this machine")
    subprocess.run(["docker", "build", "--tag", "mnist_lab:test", str(ROOT)], check=True)
    command = ["docker", "run", "--rm", "mnist_lab:test", "train", *FEW.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "test" in done.stdout
