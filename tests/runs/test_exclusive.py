from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import BusyError
from mnist_lab.runs.directory import hold, is_held
from mnist_lab.runs.exclusive import exclusive, sweep_of


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    make_run(tmp_path / "s/0", 0, 0.9)
    make_run(tmp_path / "s/1", 1, 0.9)
    (tmp_path / "s/sweep.json").write_text("{}")
    (tmp_path / "s/ledger").mkdir()
    return tmp_path / "s"


def test_a_trial_is_held_with_its_sweep(sweep: Path) -> None:
    assert sweep_of(sweep / "0") == sweep
    with exclusive(sweep / "0"):
        assert is_held(sweep / "0/.lock")
        assert is_held(sweep / "ledger/.lock")
    assert not is_held(sweep / "ledger/.lock")


@pytest.mark.parametrize("name", ["0/.lock", "ledger/host-1-abc.lock"])
def test_a_sweep_that_a_process_works_on_is_busy(name: str, sweep: Path) -> None:
    with hold(sweep / name, sweep), pytest.raises(BusyError), exclusive(sweep):
        pass
