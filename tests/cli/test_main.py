"""What users meet who type something wrong, or ask what there is."""

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import BAD, make_folder
from door import COMMAND, FEW_BATCHES, call, run, without_torch
from made_runs import make_run
from refusals import of_this_hydra

from mnist_lab import __version__
from mnist_lab.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]
EARLY = [of_this_hydra(row) for row in BAD if not row.get("late")]
LATE = [of_this_hydra(row) for row in BAD if row.get("late")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's own choices and a few runs, one of them malicious."""
    folder = tmp_path_factory.mktemp("work")
    make_folder(folder)
    return folder


def check_answer(row: dict, code: int, out: str, err: str) -> None:
    lines = err.splitlines()
    assert (code, len(lines), out) == (row["code"], 1, ""), err
    verb = shlex.split(row["command"])[0]
    assert lines[0].startswith(f"mnist-lab {verb}: " if verb in VERBS else "mnist-lab: ")
    assert [word for word in row["words"] if word not in lines[0]] == [], lines[0]


@pytest.mark.parametrize("row", EARLY, ids=[row["command"] for row in EARLY])
def test_bad_input_is_one_line(
    row: dict, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EVIL", "os.system")
    for name in ("torch", "lightning", "mnist_lab.training.run", "mnist_lab.inference.evaluate"):
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error
    code = main(shlex.split(row["command"]))
    check_answer(row, code, *capsys.readouterr())
    assert not (folder / "outputs").exists()
    assert not list(folder.rglob("evidence"))


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("row", LATE, ids=[row["command"] for row in LATE])
def test_what_lightning_or_torch_refuses_is_one_line(row: dict, tmp_path: Path) -> None:
    """Its own sentence is shown, and no run is left that never trained."""
    quiet = "trainer.enable_progress_bar=false trainer.enable_model_summary=false logger=none"
    result = call(f"{row['command']} {quiet}", tmp_path)
    check_answer(row, result.returncode, "", result.stderr)
    assert not list(tmp_path.rglob("manifest.json"))


# Every tenth row, and so some of each kind, as a user meets it.
@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("row", EARLY[::10], ids=[row["command"] for row in EARLY[::10]])
def test_bad_input_through_the_door(row: dict, folder: Path) -> None:
    result = run(row["command"], folder, EVIL="os.system", **without_torch(folder))
    check_answer(row, result.returncode, result.stdout, result.stderr)
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("arguments", ["--help", "train --help"])
def test_help_needs_no_torch(arguments: str, folder: Path) -> None:
    assert run(arguments, folder, **without_torch(folder)).returncode == 0


def test_top_level_needs_no_hydra() -> None:
    code = "import sys, mnist_lab.cli.main as c; c.main(['--help']); print('hydra' in sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.splitlines()[-1] == "False"
    assert all(f"  {verb} " in printed for verb in VERBS)


def test_the_process_ends_at_once_but_not_before_all_is_done() -> None:
    code = """
import atexit, gc, sys, threading, time
from mnist_lab.cli import main as cli

class Slow:
    def __del__(self):
        print("taken apart")

def later():
    time.sleep(0.2)
    print("thread")

def main(_):
    global slow
    slow = Slow()
    atexit.register(print, "at exit")
    threading.Thread(target=later).start()
    print("main")
    return 3

cli.main = main
sys.exit(cli.command())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines() == ["main", "thread", "at exit"]


def test_an_error_that_is_ours_to_mend_shows_where_it_is() -> None:
    code = "from mnist_lab.cli import main as cli; cli.main = lambda _: 1 / 0; cli.command()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_version_and_the_commit_of_a_checkout(folder: Path) -> None:
    words = run("--version", folder).stdout.split(maxsplit=2)
    assert words[:2] == ["mnist-lab", __version__]
    if (ROOT / ".git").exists():
        head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout
        assert words[2].startswith(f"({commit[:12]}")


def test_no_verb_shows_the_verbs(folder: Path) -> None:
    assert run("", folder).stdout == run("--help", folder).stdout


OF_PLACES = [
    "resume X",
    "verify X",
    "evaluate X",
    "evaluate run X",
    "card X",
    "card run --output X",
    "report X",
    "report run --html X",
    "report run --html X/page.html",
    "report run --compare X 1",
    "predict X image.png",
    "predict run image.png --show X",
    "predict run image.png --show X.png",
    "serve X",
    "export X",
    "export run --output X.onnx",
    "new X",
    "train --config-dir X",
    "train init_from=X",
    "train hydra.run.dir=X",
    "train -m seed=0,1 hydra.sweep.dir=X",
    "runs X",
    "runs show X",
    "runs diff run X",
    "runs watch X",
    "runs tag X word",
    "runs tag run X",
    "runs note X text",
    "runs rm X",
    "runs rm --undo X",
    "runs archive X",
    "runs archive run -o X",
]


@pytest.mark.parametrize("command", OF_PLACES)
def test_a_place_with_too_long_a_name_is_one_line(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run(tmp_path / "run", 0, 0.9)
    check_refused(command.replace("X", 300 * "x"), tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("command", OF_PLACES)
def test_a_place_without_permission_is_one_line(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(function: Callable[..., Any]) -> Callable[..., Any]:
        def refused(path: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(path, int) and "closed/" in os.fspath(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return function(path, *args, **options)

        return refused

    make_run(tmp_path / "run", 0, 0.9)
    for name in ("stat", "lstat", "mkdir", "open", "scandir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    check_refused(command.replace("X", "closed/x"), tmp_path, monkeypatch, capsys)


def check_refused(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    code, (_, err) = main(shlex.split(command)), capsys.readouterr()
    assert (code in (2, 3, 5), len(err.splitlines())) == (True, 1), (code, err)
    assert err.startswith(f"mnist-lab {command.partition(' ')[0]}: ")


def test_a_key_with_a_long_value_is_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "run", 0, 0.9)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "run", "key=" + 300 * "x"]) == 2
    assert "key" in capsys.readouterr().err


def test_another_error_of_the_system_shows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: list[str]) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file", "a file of our own")

    monkeypatch.setattr("mnist_lab.cli.schema.main", fail)
    with pytest.raises(FileNotFoundError):
        main(["schema"])


COMPLETIONS = {
    "mnist-lab ": list(VERBS),
    "mnist-lab tr": ["train"],
    "mnist-lab train mod": ["mode=", "model.", "model="],
    "mnist-lab train model=": [
        "model=cnn",
        "model=global_pool_cnn",
        "model=mlp",
        "model=module",
        "model=softmax",
    ],
    "mnist-lab train model=c": ["model=cnn"],
    "mnist-lab train optimizer.": [
        f"optimizer.{name}" for name in ("betas.", "eps=", "lr=", "name=", "weight_decay=")
    ],
    "mnist-lab train model=cnn model.ker": ["model.kernel_size."],
    "mnist-lab train modle=cnn optimizer.": [],
}


def test_bash_completes(folder: Path) -> None:
    script = [
        f'PATH="{COMMAND.parent}:$PATH"',
        'eval "$(mnist-lab train -sc install=bash)"',
        "[[ $(complete -p mnist-lab) == *hydra_bash_completion* ]] || exit 1",
    ]
    for line in COMPLETIONS:
        words = line.split(" ")
        script += [
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}",
            f"COMP_WORDS=({shlex.join(words)}) COMPREPLY=()",
            'hydra_bash_completion; echo "${COMPREPLY[*]}"',
        ]
    result = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.stderr == ""
    offered = [line.split() for line in result.stdout.splitlines()]
    assert dict(zip(COMPLETIONS, offered, strict=True)) == COMPLETIONS


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    script = f"set -o pipefail; {COMMAND} train --help | head -1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0
    assert done.stderr == ""


READ_IN_PART = {
    "train": "hydra.run.dir=s trainer.max_epochs=3",
    "train -m": "hydra.sweep.dir=s seed=1,2,3",
    "train -m hydra/launcher=fused": "hydra.sweep.dir=s seed=1,2,3 trainer.max_epochs=3",
    "train -m hydra/launcher=parallel": "hydra.sweep.dir=s seed=1,2,3 hydra.launcher.workers=1",
}
CASES = [
    pytest.param(command, both, marks=[pytest.mark.slow] if both and "/" in command else [])
    for command in READ_IN_PART
    for both in (False, True)
]


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize(("command", "both"), CASES)
def test_a_reader_that_goes_away_harms_no_run(command: str, both: bool, tmp_path: Path) -> None:
    """Both: the errors go to the same pipe, as with ``2>&1 | head -1``."""
    words = shlex.split(f"{command} model=softmax {FEW_BATCHES} {READ_IN_PART[command]}")
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [COMMAND, *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else log,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        code = process.wait(timeout=300)
    assert (code, (tmp_path / "log").read_text()) == (0, "")
    manifests = list((tmp_path / "s").rglob("manifest.json"))
    assert [json.loads(path.read_text())["state"] for path in manifests] == ["finished"] * (
        3 if "-m" in words else 1
    )
    if "-m" in words:
        assert (tmp_path / "s" / "leaderboard.json").is_file()
        assert (tmp_path / "s" / "experiment" / "best.yaml").is_file()


@pytest.mark.parametrize("verb", ["resume", "verify", "evaluate", "export"])
def test_only_what_is_missing_is_asked_for(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    assert "the following arguments are required: run; " in capsys.readouterr().err


@pytest.mark.thorough
def test_closed_standard_streams_are_none_of_a_runs_business(tmp_path: Path) -> None:
    command = (
        f"{shlex.quote(str(COMMAND))} train model=softmax trainer.max_steps=2 hydra.run.dir=run"
    )
    limits = "trainer.limit_val_batches=1 trainer.limit_test_batches=1"
    shell = ["bash", "-c", f"exec <&- >&- 2>&-; {command} {limits}"]
    assert subprocess.run(shell, cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / "metrics.json").is_file()
