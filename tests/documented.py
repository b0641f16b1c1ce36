"""A page of the documentation: the commands, files and lines of Python that a reader types."""

import contextlib
import glob
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from door import COMMAND, call, run
from PIL import Image

from mnist_lab import MNISTDataModule
from mnist_lab.training.epoch_loop import FastEpochLoop

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(console|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The tests' only additions, for time.
_FEW = ("trainer.limit_train_batches=5", "trainer.limit_val_batches=2")
_FEW_TRIALS = "hydra.sweeper.n_trials=2"
# What needs an installation of its own, by the test that does it.
ELSEWHERE = {
    "pip install": "tests/scripts/test_package.py",
    ".venv/bin/pip install": "tests/scripts/test_package.py",
    "python -m venv": "tests/scripts/test_setup.py",
    "scripts/train": "tests/scripts/test_setup.py",
    "docker": "tests/scripts/test_docker.py",
    "uvx": "tests/scripts/test_package.py",
    "pipx": "tests/scripts/test_package.py",
    "wandb sync": "tests/training/loggers/test_wandb.py",
}


class Command(NamedTuple):
    """A line after ``$``, and what the page shows below it."""

    line: str
    shown: str


class Text(NamedTuple):
    """Python that is run, or a file that is saved where the first line names it."""

    name: str | None
    text: str


def read(page: Path) -> list[Command | Text]:
    """Return what a page has its reader do, in order."""
    steps: list[Command | Text] = []
    for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, shown = part.partition("\n")
                steps.append(Command(line, shown))
        else:
            named = re.match(r"# (\S+\.(?:py|yaml))\n", text)
            if language == "yaml" and not named:  # a part of a file
                assert yaml.safe_load(text)
                continue
            steps.append(Text(named[1] if named else None, text))
    return steps


def follow(steps: list[Command | Text], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Do what a page says, in a folder."""
    patch.chdir(folder)
    _draw(folder)
    before = set(sys.modules)
    for step in steps:
        if isinstance(step, Command):
            _type(step, folder, patch)
        elif step.name is None:
            exec(compile(step.text, "page", "exec"), {"__name__": "page"})
        else:
            (folder / step.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.name).write_text(step.text)
    for name in set(sys.modules) - before:  # the reader's own
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _draw(folder: Path) -> None:
    """Write the images that the pages speak of."""
    data = MNISTDataModule()
    data.prepare_data()
    images = data.split(train=False).images[:3, 0].numpy()
    (folder / "scans").mkdir()
    Image.fromarray(images[0]).save(folder / "seven.jpg")
    Image.fromarray(np.hstack(list(images))).save(folder / "scans" / "247.png")
    Image.new("L", (200, 200), 255).save(folder / "scans" / "blank.png")
    (folder / "scans" / "broken.png").write_bytes(b"no image")


_IN_A_PROCESS_OF_ITS_OWN = {"trainer=ddp_cpu", "bits=portable"}


def _type(command: Command, folder: Path, patch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command.line, comments=True)
    match words:
        case ["export", "PYTHONPATH=."]:
            patch.syspath_prepend(folder)
        case ["tensorboard", *rest]:
            program = [sys.executable, "-m", "tensorboard.main", *rest, "--port", "0"]
            with _serving(program, folder):
                pass
        case ["mnist-lab", "serve", *rest]:
            with _serving([str(COMMAND), "serve", *rest, "--port", "0"], folder) as address:
                assert b"<canvas" in urllib.request.urlopen(address).read()
        case ["mnist-lab", *rest]:  # a shell names the files that a pattern fits
            rest = [name for word in rest for name in sorted(glob.glob(word)) or [word]]
            _lab(rest, command.shown, folder)
        case ["python", script]:
            runpy.run_path(script)
        case _:
            test = next((ELSEWHERE[key] for key in ELSEWHERE if command.line.startswith(key)), None)
            assert test, f"{command.line}: how is it tested?"
            assert (ROOT / test).is_file()


def _lab(words: list[str], shown: str, folder: Path) -> None:
    """Run ``mnist-lab``; what the page shows of an error is what it prints."""
    is_error = shown.startswith(f"mnist-lab {words[0]}: ") and shown.count("\n") == 1
    line = shlex.join(words if is_error else _shortened(words))
    with _interrupted() if shown.startswith("^C") else contextlib.nullcontext():
        is_apart = not is_error and {*words} & _IN_A_PROCESS_OF_ITS_OWN
        done = (run if is_apart else call)(line, folder)
    if is_error:
        assert done.returncode in range(2, 7), line
        assert done.stderr.strip() == shown.strip()
    elif shown.startswith("^C"):
        assert done.returncode == 130, done.stderr
        assert "to resume the run from here: mnist-lab resume" in done.stderr + done.stdout
    elif shown.startswith(f"mnist-lab {words[0]}: "):  # one of several inputs is refused
        assert done.returncode == 3, done.stderr
        assert shown.partition("\n")[0] in done.stderr
    else:
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def _shortened(words: list[str]) -> list[str]:
    if words[0] == "resume":  # a search goes further by less
        return [re.sub(r"n_trials=\d+", "n_trials=3", word) for word in words]
    if words[0] != "train" or {"model=softmax", "-m"} & {*words} == {"model=softmax"}:
        return words
    words = [re.sub(r"^seed=range\(\d+\)", "seed=range(2)", word) for word in words]
    if any(re.search("n_trials=|_search|_tradeoff", word) for word in words):
        words = [*words, _FEW_TRIALS]
    if "sweep=lr_range" in words:
        words = [*words, "hydra.sweeper.rates=6", "hydra.sweeper.seeds=1"]
    if not any(word.startswith("trainer=") for word in words):
        words = [*words, "trainer=cpu"]
    return [*words, *_FEW]


@contextlib.contextmanager
def _interrupted() -> Iterator[None]:
    """Have the terminal's Ctrl-C come in the seventh step of a training."""
    advance: Callable[..., None] = FastEpochLoop.advance
    left = 7

    def or_stop(self: FastEpochLoop, data_fetcher: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        advance(self, data_fetcher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastEpochLoop, "advance", or_stop)
        yield


@contextlib.contextmanager
def _serving(program: list[str], folder: Path) -> Iterator[str]:
    """Run a server until it has said its address."""
    process = subprocess.Popen(
        program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://[\w.]+:\d+/", line):
                yield found[0]
                break
        else:
            pytest.fail("".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
