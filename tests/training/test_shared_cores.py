"""Threads that give way: whether they do beside busy processes, and what is left afterwards."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from mnist_lab.training import shared_cores
from mnist_lab.training.cores import SPINS, given_cores
from mnist_lab.training.shared_cores import gives_way

BESIDE_OTHERS = """
import threading, time
import torch
from mnist_lab.training.shared_cores import gives_way
torch.set_num_threads(2)
images, end = torch.rand(2048, 784), time.monotonic() + 60
with gives_way():
    while threading.active_count() < 3 and time.monotonic() < end:
        images @ images.T
    print(threading.active_count())
print(threading.active_count())
"""
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def waits_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GOMP_SPINCOUNT", SPINS)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(shared_cores, "given_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(given_cores() != 2, reason="needs two cores, for which it makes itself busy")
def test_beside_busy_processes_threads_give_way() -> None:
    beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(4)]
    environment = {name: os.environ[name] for name in os.environ if "OMP_" not in name}
    try:
        done = subprocess.run(
            [sys.executable, "-c", BESIDE_OTHERS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        for process in beside:
            process.kill()
            process.wait()
    assert done.stdout.split() == ["3", "1"], done.stderr


@pytest.mark.usefixtures("two_threads")
def test_threads_loop_again_when_nobody_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = itertools.count()
    is_busy = True
    monkeypatch.setattr(shared_cores, "_SECONDS", 0.01)
    monkeypatch.setattr(
        shared_cores, "_queued", lambda: {"1": float(next(queue)) if is_busy else 0.0}
    )
    others = threading.active_count()
    with gives_way():
        assert waits_for(lambda: threading.active_count() == others + 2)
        is_busy = False
        assert waits_for(lambda: threading.active_count() == others + 1)
        is_busy = True
        assert waits_for(lambda: threading.active_count() == others + 2)
    assert waits_for(lambda: threading.active_count() == others)


@pytest.mark.usefixtures("two_threads")
def test_many_threads_that_queue_now_and_then_are_no_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = itertools.count()
    monkeypatch.setattr(shared_cores, "_SECONDS", 0.01)

    def queued() -> dict[str, float]:
        seconds = next(looks) * 0.0001  # one in a hundred
        return {str(task): seconds for task in range(300)}

    monkeypatch.setattr(shared_cores, "_queued", queued)
    others = threading.active_count()
    with gives_way():
        assert waits_for(lambda: next(looks) > 20)
        assert threading.active_count() == others + 1


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("variable", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "PASSIVE")]
)
def test_what_a_user_has_set_holds(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    others = threading.active_count()
    with gives_way():
        assert threading.active_count() == others


@pytest.mark.usefixtures("two_threads")
def test_a_single_thread_waits_for_nobody() -> None:
    torch.set_num_threads(1)
    others = threading.active_count()
    with gives_way():
        assert threading.active_count() == others
