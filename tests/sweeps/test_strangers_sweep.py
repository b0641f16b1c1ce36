"""A sweep's directory that came from somebody: nothing in it runs, or is written to elsewhere."""

import json
import os
import pickle
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from door import main
from sweeping import SOFTMAX

from mnist_lab.runs.directory import LOCK, SWEEP

pytestmark = pytest.mark.usefixtures("mnist_files")

GRID = [*SOFTMAX, "trainer.fast_dev_run=true", "seed=1,2"]


class Evil:
    """A pickle that leaves a canary where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("canary"),)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a sweep whose second trial is left. No test writes there."""
    folder = tmp_path_factory.mktemp("sweep") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        assert main(["train", "-m", *GRID, f"hydra.sweep.dir={folder}"]) == 0
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the current folder beside a victim."""
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in (LOCK, "x.lock", "file"):
        (victim / name).write_text("precious")
    return Path(shutil.copytree(whole, tmp_path / "s"))


def assert_refused(
    code: int, words: str, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...] = ()
) -> None:
    """Assert that a command does not go on with the sweep, and that nothing else was touched."""
    capfd.readouterr()
    assert main(list(arguments) or ["resume", "s"]) == code
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert not Path("canary").exists()
    assert sorted(path.name for path in Path("victim").iterdir()) == [LOCK, "file", "x.lock"]
    assert {path.read_text() for path in Path("victim").iterdir()} == {"precious"}


def linked(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(Path(target).absolute())


@pytest.mark.parametrize("command", ["resume s", "train"])
@pytest.mark.parametrize(
    "name", ["1/checkpoints", "experiment", "study.db", "study.db-wal", "jobs"]
)
def test_a_link_in_a_sweep(
    name: str, command: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    linked(folder / name, "victim")
    arguments = ["train", "-m", *GRID, "hydra.sweep.dir=s"] if command == "train" else []
    assert_refused(4, f"{name}: a link out of", capfd, tuple(arguments))


def test_pipes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "ledger" / "00002.json")
    assert_refused(4, "00002.json: is not a regular file", capfd)


def test_a_directory_that_is_a_link_itself(folder: Path) -> None:
    folder.rename("moved")
    folder.symlink_to("moved")
    assert main(["resume", "s"]) == 0


RECORDS: dict[str, dict[str, Any]] = {
    "number is text": {"number": "1"},
    "number of another": {"number": 0},
    "trial is text": {"trial": "one"},
    "trial is true": {"trial": True},
    "trial is negative": {"trial": -1},
    "attempts is text": {"attempts": "many"},
    "values are texts": {"values": ["0.5"]},
    "values are a number": {"values": 0.5},
    "values are none": {"values": [float("nan")]},
    "values are huge": {"values": [10**400]},
    "metrics are texts": {"metrics": {"val/acc": "high"}},
    "metrics are a list": {"metrics": [1]},
    "params are numbers": {"params": {"seed": 2}},
    "params are a text": {"params": "seed"},
    "state is none": {"state": "over"},
    "state is a list": {"state": []},
    "owner is elsewhere": {"state": "running", "owner": "../../victim/x"},
    "owner is a number": {"owner": 3},
    "directory is elsewhere": {"state": "running", "directory": "../victim"},
    "directory is absolute": {"state": "running", "directory": "/tmp"},
    "directory is a number": {"directory": 5},
    "report is a text": {"report": "good"},
    "report lacks its epoch": {"report": {"value": 0.5, "attrs": {}}},
    "report is text": {"report": {"epoch": "1", "value": 0.5, "attrs": {}}},
    "error is a list": {"error": ["x"]},
    "started is a number": {"started": 5},
    "more than there is": {"more": 1},
    "trial is huge": {"trial": 10**30},
    "values are an empty text": {"values": ""},
    "metrics are empty texts": {"metrics": {"val/acc": ""}},
    "metrics are lists": {"metrics": {"val/acc": []}},
    "metrics are false": {"metrics": {"val/acc": False}},
    "metrics are too large to sum": {"metrics": {"val/acc": 1.7e308}},
    "params are a list": {"params": []},
    "owner is long": {"state": "running", "owner": "x" * 1000},
    "directory is false": {"state": "running", "directory": False},
    "directory is the sweep's": {"state": "running", "directory": "."},
    "directory is long": {"state": "running", "directory": "x" * 300},
    "directory has a zero byte": {"state": "running", "directory": "a\0"},
    "directory is no name": {"state": "running", "directory": "\ud800"},
    "report has a huge epoch": {"report": {"epoch": 10**30, "value": 0.5, "attrs": {}}},
    "report has a list of attributes": {"report": {"epoch": 1, "value": 0.5, "attrs": []}},
    "report has more": {"report": {"epoch": 1, "value": 0.5, "attrs": {}, "more": 1}},
    "lineage is a mapping": {"lineage": {}},
    "lineage has texts": {"lineage": ["x"]},
    "lineage has a huge epoch": {"lineage": [{"epoch": 10**30, "trial": 0, "params": {}}]},
    "lineage has no params": {"lineage": [{"epoch": 0, "trial": 0, "params": []}]},
}


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", RECORDS)
def test_records(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "ledger" / "00001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | RECORDS[name]))
    assert_refused(3, f"{path}: not a trial's record: ", capfd)


HANDLER = "+hydra.job_logging.handlers.x"
LEFT: dict[str, dict[str, Any]] = {  # of a trial that was left
    "log file": {
        "params": {"seed": "2", HANDLER: "{class:logging.FileHandler,filename:canary,mode:w}"}
    },
    "directory": {"params": {"seed": "2", "hydra.sweep.dir": "canary"}},
    "environment": {"params": {"seed": "2", "+hydra.job.env_set.X": "y"}},
    "data": {"params": {"seed": "2", "data.root": "victim"}},
    "weights": {"params": {"seed": "2", "init_from": "victim"}},
    "another key": {"params": {"data.root": "victim"}},
    "no key": {"params": {}},
    "another value": {"params": {"seed": "3"}},
    "more than a value": {"params": {"seed": "2 hydra.sweep.dir=canary"}},
    "lines": {"params": {"seed": "2\n\x1b[2J"}},
    "lineage": {"lineage": [{"epoch": 0, "trial": 0, "params": {"seed": "2", "data.root": "1"}}]},
    "two values": {"state": "finished", "values": [0.5, 0.5]},
    "no value": {"state": "finished", "values": []},
}


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", LEFT)
def test_a_trial_that_was_left(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sql("UPDATE trials SET state = 'RUNNING' WHERE number = 1")(folder)
    path = folder / "ledger" / "00001.json"
    left = {"state": "interrupted", "values": None, "directory": None} | LEFT[name]
    path.write_text(json.dumps(json.loads(path.read_text()) | left))
    assert_refused(3, f"{path}: ", capfd)
    assert json.loads(path.read_text())["state"] == left["state"]


def sql(*lines: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with sqlite3.connect(folder / "study.db") as connection:
            for line in lines:
                connection.execute(line)
        connection.close()

    return change


STUDIES: dict[str, tuple[int, Callable[[Path], object]]] = {
    "other file": (3, lambda folder: (folder / "study.db").write_text("x" * 5000)),
    "cut off": (3, lambda folder: os.truncate(folder / "study.db", 5000)),
    "a byte": (3, lambda folder: (folder / "study.db").write_bytes(b"\0")),
    "no table": (3, sql("DROP TABLE trial_params")),
    "no column": (3, sql("ALTER TABLE trials RENAME COLUMN state TO status")),
    "value is no JSON": (3, sql("UPDATE trial_user_attributes SET value_json = '{'")),
    "no state": (3, sql("UPDATE trials SET state = 'OVER'")),
    "distribution": (3, sql("UPDATE trial_params SET distribution_json = '{}'")),
    "distribution of none": (3, sql("UPDATE trial_params SET distribution_json = '5'")),
    "no choice": (3, sql("UPDATE trial_params SET param_value = 77")),
    "identity": (3, sql("UPDATE study_user_attributes SET value_json = '5'")),
    "parts": (3, sql("""UPDATE study_user_attributes SET value_json = '{"space": 5}'""")),
    "home": (3, sql("UPDATE trial_user_attributes SET value_json = '5' WHERE key = 'home'")),
    "number": (3, sql("UPDATE trial_user_attributes SET value_json = '-5' WHERE key = 'number'")),
    "no notes": (3, sql("DELETE FROM trial_user_attributes")),
    "no params": (3, sql("DELETE FROM trial_params")),
    "another choice": (
        3,
        sql(
            "UPDATE trial_params SET distribution_json = replace(distribution_json, '\"2\"', "
            "'\"2 hydra.sweep.dir=canary\"')"
        ),
    ),
    "more params": (
        3,
        sql(
            "UPDATE trial_params SET param_name = 'data.root' WHERE trial_id = 2",
            "UPDATE trial_user_attributes SET value_json = '\"other\"' WHERE key = 'home'",
        ),
    ),
    "direction": (3, sql("UPDATE study_directions SET direction = 'MINIMIZE'")),
    "no trials": (3, sql("DELETE FROM trials")),
    "gone": (3, lambda folder: (folder / "study.db").unlink()),
}  # fmt: skip


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", STUDIES)
def test_studies(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, change = STUDIES[name]
    change(folder)
    assert_refused(code, "study.db: ", capfd)


def test_no_attribute_is_unpickled(folder: Path) -> None:
    pickled = json.dumps(pickle.dumps(Evil()).hex())
    for number in range(2):
        sql(
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
            f"VALUES ({number + 1}, 'cma:optimizer:0', '{pickled}')"
        )(folder)
    (folder / "jobs").mkdir()
    for name in ("1_0_result.pkl", "1_submitted.pkl"):
        (folder / "jobs" / name).write_bytes(pickle.dumps(Evil()))
    assert main(["resume", "s"]) == 0
    assert main(["resume", "s", "hydra.sweeper.sampler=cmaes"]) == 2
    assert not Path("canary").exists()


def test_a_journal_that_has_another_file_deleted(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = str(Path("victim/file").absolute()).encode()
    page = sqlite3.connect(folder / "study.db").execute("PRAGMA page_size").fetchone()[0]
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">IIIII", 0, 0, 1, 512, page)
    tail = struct.pack(">I", 0x40000000 // page + 1) + name
    tail += struct.pack(">II", len(name), sum(name)) + bytes.fromhex("d9d505f920a163d7")
    (folder / "study.db-journal").write_bytes(header.ljust(512, b"\0") + tail)
    assert_refused(4, "study.db-journal: names a file of another database", capfd)


@pytest.mark.parametrize(
    "text",
    [
        "hydra.sweeper.storage=canary",
        "+hydra.launcher.parameters.setup=[touch canary]",
        "hydra.sweeper.params={hydra.sweep.dir: canary}",
    ],
)
def test_what_its_file_says(text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((folder / SWEEP).read_text())
    content["overrides"].append(text)
    (folder / SWEEP).write_text(json.dumps(content))
    capfd.readouterr()
    assert main(["resume", "s"]) == 4
    assert text in capfd.readouterr().err


@pytest.mark.parametrize(
    "text", ["../victim", "/tmp/canary", "0/../../victim", "${oc.env:PWD}/victim", "a/.."]
)
def test_places_of_trials(text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((folder / SWEEP).read_text())
    content["overrides"].append(f"hydra.sweep.subdir='{text}/${{hydra.job.num}}'")
    (folder / SWEEP).write_text(json.dumps(content))
    capfd.readouterr()
    assert main(["resume", "s"]) == 4
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "hydra.sweep.subdir" in err
