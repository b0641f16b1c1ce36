"""The environment that bits depend on is the same behind every door."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TRAINED = """\
import hashlib, torch
import mnist_lab
print(torch.get_num_threads())
for model in (mnist_lab.SoftmaxRegression, mnist_lab.MLP):
    torch.manual_seed(0)
    trained = model()
    mnist_lab.train(
        trained, max_epochs=1, limit_train_batches=30, limit_val_batches=1, limit_test_batches=1,
        accelerator="cpu", precision="32-true", enable_progress_bar=False,
    )
    weights = torch.cat([parameter.detach().flatten() for parameter in trained.parameters()])
    print(hashlib.sha256(weights.numpy().tobytes()).hexdigest())
"""


def run(code: str, **environment: str | None) -> list[str]:
    """Run code in a process of its own, with environment variables set, or unset where None."""
    variables = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def weights_on(threads: int) -> list[str]:
    """Return the hashes of a softmax regression and an MLP after 30 steps."""
    number = str(threads)
    used, *hashes = run(
        TRAINED,
        MKL_CBWR=None,
        OMP_NUM_THREADS=number,
        MKL_NUM_THREADS=number,
        MKL_DYNAMIC="FALSE",  # else MKL takes no more threads than there are cores
        OMP_WAIT_POLICY="PASSIVE",  # else they spin, beside other tests for minutes
    )
    assert used == number
    return hashes


@pytest.mark.slow
def test_softmax_and_mlp_have_the_same_weights_on_any_number_of_threads() -> None:
    assert weights_on(1) == weights_on(2) == weights_on(3)


@pytest.mark.parametrize(("chosen", "mode"), [(None, "AUTO,STRICT"), ("COMPATIBLE", "COMPATIBLE")])
def test_strict_mode_unless_the_user_has_set_another(chosen: str | None, mode: str) -> None:
    assert run("import os, mnist_lab; print(os.environ['MKL_CBWR'])", MKL_CBWR=chosen) == [mode]


PORTABLE = json.loads((Path(__file__).parent / "golden" / "portable.json").read_text())
SHORT = "trainer=cpu trainer.max_epochs=1 logger=none ~callbacks.pictures bits=portable"


def trained(words: str, folder: Path, threads: int) -> str:
    """Train with bits=portable, and return the hash of the weights of seed 0."""
    environment = {name: text for name, text in os.environ.items() if name != "MKL_CBWR"}
    environment |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"MKL_NUM_THREADS": str(threads), "MKL_DYNAMIC": "FALSE"}
    command = [sys.executable, "-m", "mnist_lab", "train", *words.split(), *SHORT.split()]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    manifests = [json.loads(path.read_text()) for path in folder.rglob("manifest.json")]
    (digest,) = [entry["sha256"]["last"] for entry in manifests if entry["config"]["seed"] == 0]
    return str(digest)


def is_recorded(words: str, digest: str) -> bool:
    """Return whether a hash is its maker's recorded one, or none is recorded for this torch."""
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text() if cpu.exists() else ""
    (recorded,) = [PORTABLE[maker] for maker in PORTABLE if maker in text] or [{"torch": []}]
    return torch.__version__.partition("+")[0] not in recorded["torch"] or digest == recorded[words]


@pytest.mark.thorough
def test_portable_bits_are_those_of_every_processor_of_a_maker(tmp_path: Path) -> None:
    assert is_recorded("model=softmax", trained("model=softmax", tmp_path, threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("words", sorted({*PORTABLE["AuthenticAMD"]} - {"torch"}))
def test_portable_bits_on_any_number_of_threads_and_in_a_stack(words: str, tmp_path: Path) -> None:
    digests = set()
    for threads in (1, 2, 4):
        (folder := tmp_path / str(threads)).mkdir()
        digests.add(trained(words, folder, threads))
    (folder := tmp_path / "fused").mkdir()
    digests.add(trained(f"-m {words} seed=1,0 hydra/launcher=fused", folder, threads=2))
    assert len(digests) == 1
    assert is_recorded(words, digests.pop())
