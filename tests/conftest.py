"""What all tests share: one thread for torch, and a cache of the digits that is not the user's."""

import logging
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: workers share the cores

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from door import call
from filelock import FileLock
from hypothesis import HealthCheck, settings

from mnist_lab.data.mnist_files import Split, load_split

torch.set_num_threads(1)
# Beside other processes a test may take any time.
slow = [HealthCheck.too_slow]
settings.register_profile("shared", deadline=None, database=None, suppress_health_check=slow)
settings.load_profile("shared")
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # under nohup, which a run would respect
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the mark ``thorough`` from the first cases of a test, as many as it says."""
    seen = Counter[str]()
    for item in items:
        mark = item.get_closest_marker("thorough")
        if mark is None or item.get_closest_marker("slow"):
            continue
        name = item.nodeid.partition("[")[0]
        seen[name] += 1
        if seen[name] <= mark.kwargs.get("keep", 0):
            item.own_markers.remove(mark)


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """Take back the handlers that a run in this process gave to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that ``MNIST_LAB_DATA`` names in all tests."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_LAB_DATA", str(root))
        load_split("mnist", True, root)  # which evaluate would not do
        load_split("mnist", False, root)
        yield root


@pytest.fixture(scope="session")
def mnist_files(data_root: Path) -> Path:
    """The folder of the four unpacked files."""
    return data_root / "MNIST" / "raw"


@pytest.fixture(scope="session")
def mnist_train(data_root: Path) -> Split:
    return load_split("mnist", train=True, root=data_root)


@pytest.fixture(scope="session")
def mnist_test(data_root: Path) -> Split:
    return load_split("mnist", train=False, root=data_root)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a CNN of 99 %, which takes seconds to train; tests only read it.

    The processes that run the tests share it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "trained.lock"):
        if not (shared / "trained").exists():
            command = (
                "train model=cnn trainer=cpu trainer.max_epochs=2 logger=none ~callbacks.pictures "
                "hydra.run.dir=partial"
            )
            done = call(command, shared)
            assert done.returncode == 0, done.stderr
            (shared / "partial").rename(shared / "trained")
    return shared / "trained"
