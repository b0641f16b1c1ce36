"""Tags and notes of runs, and a process that is killed while it writes them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import BusyError, ConfigError, UntrustedError
from mnist_lab.runs.directory import hold, read_json
from mnist_lab.runs.labels import Labels, check_tags, labels_of, note_run, tag_run


def labels(run: Path) -> Labels:
    return labels_of(read_json(run / "manifest.json"))


def test_tags_and_a_note_are_kept_beside_what_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    tag_run(run, ["paper", "baseline", "paper"])
    note_run(run, "why\nso")
    tag_run(run, ["new"], drop=["baseline"])
    assert labels(run) == Labels(("paper", "new"), "why\\nso")
    assert read_json(run / "manifest.json")["state"] == "finished"
    note_run(run, "")
    assert labels(run).note == ""


def test_a_run_that_trains_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    before = (run / "manifest.json").read_bytes()
    with hold(run / ".lock", run):
        with pytest.raises(BusyError):
            tag_run(run, ["paper"])
        with pytest.raises(BusyError):
            note_run(run, "why")
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("tag", ["", "a b", "=1+1", "-x", "x" * 51, "\x1b[31m", "a/b"])
def test_a_tag_is_a_word(tag: str) -> None:
    with pytest.raises(ConfigError, match="tag"):
        check_tags([tag])


def test_what_is_too_much_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    with pytest.raises(ConfigError, match="50 tags"):
        tag_run(run, [f"t{number}" for number in range(51)])
    with pytest.raises(ConfigError, match="2,000"):
        note_run(run, "x" * 2001)


def test_a_strangers_labels_are_bounded_and_only_show() -> None:
    found = labels_of({"tags": ["\x1b[2J" * 9, 3, "x" * 1_000_000] * 99, "note": "\u202e" * 10**6})
    assert len(found.tags) == 50
    assert all(tag.isprintable() for tag in found.tags)
    assert found.note.isprintable()
    assert len(found.note) < 20_000
    assert labels_of({"tags": "paper", "note": ["x"]}) == Labels()


def test_no_link_is_followed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (tmp_path / "other.json").write_text("{}")
    (run / "manifest.json").unlink()
    (run / "manifest.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(UntrustedError):
        tag_run(run, ["paper"])
    assert (tmp_path / "other.json").read_text() == "{}"


WRITES = """
import sys
from pathlib import Path
from mnist_lab.runs.labels import note_run, tag_run
run = Path(sys.argv[1])
print(flush=True)
for number in range(1_000_000):
    tag_run(run, [f"t{number % 2}"], [f"t{(number + 1) % 2}"])
    note_run(run, f"note {number % 2}")
"""


@pytest.mark.slow
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    tag_run(run, ["t0"])
    for number in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(run)], stdout=subprocess.PIPE, env=os.environ
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + number * 0.003)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = labels(run)
        assert found.tags in (("t0",), ("t1",))
        assert found.note in ("", "note 0", "note 1")
        assert json.loads((run / "manifest.json").read_text())["state"] == "finished"
    note_run(run, "last")
    assert not list(run.glob(".*.partial"))
