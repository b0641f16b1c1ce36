"""The environment that bits depend on is the same behind every door."""

import os
import subprocess
import sys

import pytest

PRODUCT = """\
import sys, torch
from mnist_lab.models import MLP
torch.manual_seed(0)
inputs, weights = torch.randn(100, 65), torch.randn(10, 65)
lone = inputs.t() @ (inputs @ weights.t())
threads = torch.get_num_threads()
print(threads, lone.double().sum().item().hex())
"""


@pytest.mark.parametrize("threads", [2, 3])
def test_a_product_has_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    results = []
    for number in (1, threads):
        environment = {k: v for k, v in os.environ.items() if k != "MKL_CBWR"}
        environment |= {"OMP_NUM_THREADS": str(number), "MKL_NUM_THREADS": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", PRODUCT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(done.stdout.split())
    assert [int(used) for used, _ in results] == [1, threads]
    assert results[0][1] == results[1][1]


def test_mode_of_the_user_is_left() -> None:
    code = "import os, mnist_lab; print(os.environ['MKL_CBWR'])"
    for mode in ("COMPATIBLE", None):
        environment = {k: v for k, v in os.environ.items() if k != "MKL_CBWR"}
        environment |= {"MKL_CBWR": mode} if mode else {}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == (mode or "AUTO,STRICT")
