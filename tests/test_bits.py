"""The environment that bits depend on is the same behind every door."""

import os
import subprocess
import sys

import pytest

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
