"""SIGKILL inside ``rm``, ``tag``, ``note`` and ``archive``: the old or the new state, no other."""

import json
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from door import call
from made_runs import make_run

LOOPS = {
    "rm": [["rm", "outputs/runs/a"], ["rm", "--undo"]],
    "tag": [["tag", "outputs/runs/a", "x"], ["tag", "outputs/runs/a", "x", "--remove"]],
    "note": [["note", "outputs/runs/a", "n" * 2000], ["note", "outputs/runs/a", ""]],
    "archive": [["archive", "outputs/runs/a", "-o", "a.zip", "--overwrite"]],
}
PROGRAM = """\
import contextlib, io, sys
from mnist_lab.cli.main import main
loop = {loop!r}
for number in range(10**9):
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["runs", *loop[number % len(loop)]]) == 0
    if number == len(loop):
        print("begun", flush=True)
"""


def files_of(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in (".lock", "manifest.json")
        and path.suffix != ".partial"
    }  # fmt: skip


def kill_in(action: str, folder: Path, seed: int) -> None:
    """Kill a process that does an action over and over, and check what it leaves."""
    run = make_run(folder / "outputs/runs/a", 0, 0.9)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").write_bytes(bytes(range(256)) * 4_000)
    before = files_of(run)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(loop=LOOPS[action])],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(random.Random(seed).random() / 10)
        child.send_signal(signal.SIGKILL)
    manifest_of = [*folder.rglob("manifest.json")]
    assert len(manifest_of) == 1
    manifest = json.loads(manifest_of[0].read_text())
    assert manifest["state"] == "finished"
    assert manifest.get("tags", []) in ([], ["x"])
    assert manifest.get("note", "") in ("", "n" * 2000)
    if not run.exists():
        assert call("runs rm --undo", folder).returncode == 0
    assert files_of(run) == before
    if action == "archive":
        with zipfile.ZipFile(folder / "a.zip") as archive:
            assert archive.testzip() is None
    for words in ("tag outputs/runs/a y", "rm outputs/runs/a"):  # it is free, and works on
        assert call(f"runs {words}", folder).returncode == 0


@pytest.mark.parametrize("action", LOOPS)
def test_a_kill_leaves_one_of_two_states(action: str, tmp_path: Path) -> None:
    kill_in(action, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 20))
@pytest.mark.parametrize("action", LOOPS)
def test_many_kills(action: str, seed: int, tmp_path: Path) -> None:
    kill_in(action, tmp_path, seed)
