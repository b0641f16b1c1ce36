"""The table of docs/your_own.md: what is one's own has every verb, in a fresh folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from door import call, run
from own_images import write_folder
from PIL import Image
from yours import LAUNCHED, ROWS, Own

PAGE = Path(__file__).parents[1] / "docs" / "your_own.md"
FEW = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=4 trainer.limit_val_batches=2 "
    "trainer.limit_test_batches=2 trainer.enable_model_summary=false ~callbacks.pictures "
    "callbacks.checkpoint.every_n_steps=2"
)
KILL = """
import json, os, signal, sys
from mnist_lab.cli.main import main
from mnist_lab.training.epoch_loop import FastEpochLoop

advance, left = FastEpochLoop.advance, 7


def or_die(loop, data_fetcher):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(loop, data_fetcher)


FastEpochLoop.advance = or_die
codes = []
for words in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        os._exit(main(words))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


def test_the_page_counts_files_and_lines_as_they_are() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (\d+) \| ", PAGE.read_text(), re.MULTILINE)
    assert rows == [(row.title, row.files, str(row.lines)) for row in (*ROWS.values(), LAUNCHED)]


def train(name: str, more: str, verb: str = "train") -> str:
    return f"{verb} {config_dir(name)} {FEW} {ROWS[name].words} {more}"


def config_dir(name: str) -> str:
    return f"--config-dir {name}" if ROWS[name].yaml else ""


def write(folder: Path, python: Path, own: Own, config: str) -> None:
    if own.python:
        (folder / python).parent.mkdir(exist_ok=True)
        (folder / python).write_text(own.python)
    if own.yaml:
        path = folder / config / own.yaml[0]
        path.parent.mkdir(parents=True)
        path.write_text(own.yaml[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with all that is one's own, and of each row a run that a SIGKILL has ended."""
    folder = tmp_path_factory.mktemp("yours")
    for name, own in ROWS.items():
        write(folder, Path(f"{name}.py"), own, name)
    write_folder(folder / "images", {"cat": 30, "dog": 30, "gnu": 30})
    Image.radial_gradient("L").resize((28, 28)).save(folder / "digit.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("MNIST_LAB_ALLOW", ",".join(f"{name}." for name in ROWS))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), *sys.path])))
        lines = [train(name, f"hydra.run.dir={name}_killed") for name in ROWS]
        words = json.dumps(list(map(shlex.split, lines)))
        done = subprocess.run(
            [sys.executable, "-c", KILL, words], cwd=folder, capture_output=True, text=True
        )
        assert json.loads(done.stdout.splitlines()[-1]) == [-9] * len(ROWS), done.stderr
        yield folder
    for name in ROWS:
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_every_verb(name: str, folder: Path) -> None:
    own = ROWS[name]
    for command in (
        train(name, f"hydra.run.dir={name}_run"),
        f"resume {name}_killed",
        train(name, f"{own.swept} hydra.sweep.dir={name}_sweep", "train -m"),
        f"evaluate {name}_run",
        f"verify {name}_run",
        f"predict {name}_run digit.png",
        f"export {name}_run --format torch",
        f"report {name}_run {name}_sweep",
    ):
        done = call(command, folder)
        is_taken = own.exports or not command.startswith("export")
        assert done.returncode == (0 if is_taken else 2), f"{command}: {done.stderr}"
        assert "resumes from step" in done.stdout or not command.startswith("resume")
    whole, killed = (
        json.loads((folder / f"{name}_{end}" / "manifest.json").read_text())["sha256"]
        for end in ("run", "killed")
    )
    assert whole == killed


@pytest.mark.slow
def test_a_launcher(tmp_path: Path) -> None:
    write(tmp_path, Path("hydra_plugins", "in_turn.py"), LAUNCHED, "conf")
    few = f"{FEW} model=softmax optimizer.lr=0.01,0.02 --config-dir conf"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for command in (
        f"train -m {few} {LAUNCHED.words} hydra.sweep.dir=s",
        "resume s --config-dir conf",
    ):
        done = run(command, tmp_path, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
    states = [json.loads((tmp_path / f"s/{n}/manifest.json").read_text())["state"] for n in (0, 1)]
    assert states == ["finished"] * 2
