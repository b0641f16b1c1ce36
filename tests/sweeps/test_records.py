"""Records of trials, and whose they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.errors import InputError, StorageError
from mnist_lab.runs.directory import LOCK, locked
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.inheritance import Phase
from mnist_lab.sweeps.records import Ledger, Record, Report, counts

HOLDS = """\
import sys, time
from pathlib import Path
from mnist_lab.sweeps.records import Ledger
with Ledger(Path(sys.argv[1])).owner() as name:
    print(name, flush=True)
    time.sleep(60)
"""


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    records = [
        Record(
            11,
            {"a": "[64]"},
            3,
            state=RunState.FAILED,
            error="bad luck",
            metrics={"val/loss": None},
        ),
        Record(2, {}, 2, values=[0.1], report=Report(1, 0.5)),
    ]
    for record in records:
        ledger.write(record)
    assert list(ledger) == records[::-1]
    assert ledger[11] == records[0]
    assert (2 in ledger, 3 in ledger) == (True, False)
    assert counts(ledger)[RunState.RUNNING] == 1
    ledger.remove(records[0])
    assert ledger.numbers() == [2]


def test_a_name_has_short_numbers() -> None:
    params = {"lr": "0.00123456789", "dims": "[64]", "batch": "128", "seed": "1234567"}
    record = Record(7, params, 7)
    assert record.name == "trial 7 (lr=0.001235 dims=[64] batch=128 seed=1234567)"


def test_damaged_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(Record(0, {}, 0, state=RunState.FINISHED))
    (path,) = tmp_path.glob("ledger/*.json")
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=r"00000\.json: cannot be read"):
        ledger[0]
    path.write_text("{}")
    with pytest.raises(InputError, match=r"00000\.json: not a trial's record"):
        ledger[0]


@pytest.mark.parametrize("text", ["abc", "nan", "1}, _target_: x"])
def test_a_lineage_has_numbers_alone(text: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(Record(0, {"optimizer.lr": "0.1"}, 0, lineage=[Phase(1, 2, {"lr": text})]))
    with pytest.raises(InputError, match=r"00000\.json: not a trial's record"):
        ledger[0]


def test_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Ledger(tmp_path / "file").write(Record(0, {}, 0))
    with pytest.raises(StorageError, match="cannot be written"), Ledger(tmp_path / "file").locked():
        pass


def test_what_the_storage_has_ended_is_known(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(Record(0, {}, 0, RunState.FAILED, error="bad luck"))
    ledger.write(Record(1, {}, 1, RunState.INTERRUPTED))
    ledger.check_storage([0, 1])
    ledger.write(Record(2, {}, 2, RunState.INTERRUPTED, error="a: cannot be written"))
    with pytest.raises(StorageError, match="a: cannot be written"):
        ledger.check_storage([0, 1, 2])


def test_an_owner_is_alive_until_its_process_ends(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert ledger.is_alive(name)
        process.kill()
    assert not ledger.is_alive(name)
    assert not ledger.is_alive("nobody")
    assert not ledger.is_alive("")
    with ledger.owner() as own:
        assert ledger.is_alive(own)
    assert not ledger.is_alive(own)
    assert not list(tmp_path.glob("ledger/*.lock"))


def test_a_run_may_have_outlived_its_sweep(tmp_path: Path) -> None:
    ledger, record = Ledger(tmp_path), Record(0, {}, 0)
    assert not ledger.is_worked_on(record)
    record.directory = "0"
    assert not ledger.is_worked_on(record)
    with locked(tmp_path / "0"):
        assert ledger.is_worked_on(record)
    assert (tmp_path / "0" / LOCK).exists()
    assert not ledger.is_worked_on(record)
