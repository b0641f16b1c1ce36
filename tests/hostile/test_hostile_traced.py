"""What the real commands open, write and start, as the system sees it."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from door import FEW_BATCHES

from mnist_lab.runs.directory import CONFIG, LAST, OFFLINE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
CALLS = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
CALLS += "symlink,symlinkat,link,linkat,truncate,chmod,fchmodat,execve,connect"
TOOLS = {"git", "fc-list", "uname", "ldconfig", "ldconfig.real", Path(sys.executable).name}
LIBRARIES = ("home/.cache", "home/.config", "tmp", "cache")  # matplotlib's list of fonts
LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')


def traced(command: str, folder: Path) -> tuple[int, str, list[tuple[str, str, Path]]]:
    """Run the command; return its exit code, its errors, and what it did that succeeded."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    environment = os.environ | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "MNIST_LAB_DATA": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = folder.parent / f"{folder.name}.trace"
    words = [sys.executable, "-P", "-m", "mnist_lab", *command.split()]
    done = subprocess.run(
        ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", log, "-e", f"trace={CALLS}", *words],
        cwd=folder / "here",
        env=environment,
        capture_output=True,
        text=True,
    )
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found is None or int(found[3]) < 0:
            continue
        for base, name in PLACE.findall(found[2]) or [("", "")]:
            path = Path(os.path.normpath(Path(base or folder / "here", name)))
            calls.append((found[1], found[2], path))
            if found[1] in ("execve", "connect"):
                break
    return done.returncode, done.stderr, calls


def assert_stays_in(calls: list[tuple[str, str, Path]], folder: Path, *places: str) -> None:
    """Assert that only places below the folder are written, and that nothing else is run."""
    allowed = [folder / place for place in (*LIBRARIES, *places)]
    for call, arguments, path in calls:
        assert not path.is_relative_to(folder / "victim"), (call, arguments)
        if call == "execve":
            assert path.name in TOOLS, arguments
        elif call == "connect":
            assert "AF_UNIX" in arguments, arguments
        elif "open" not in call or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", arguments):
            is_device = path.is_relative_to("/dev") or path.is_relative_to("/proc")
            assert is_device or any(map(path.is_relative_to, allowed)), (call, arguments)
        if ".so" in path.suffixes:
            assert not path.is_relative_to(folder), (call, arguments)


@pytest.mark.parametrize("kind", ["a link", "a name"])
def test_crafted_runs(kind: str, unfinished: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(unfinished, tmp_path / "here"))
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x.ckpt").write_bytes(b"precious")
    if kind == "a link":
        (run_dir / LAST).unlink()
        (run_dir / LAST).symlink_to("../../victim/x.ckpt")
    else:
        config = yaml.safe_load((run_dir / CONFIG).read_text())
        config["logger"]["csv"]["name"] = "../victim"
        (run_dir / CONFIG).write_text(yaml.safe_dump(config))
    code, errors, calls = traced("resume .", tmp_path)
    assert code == 4, errors
    assert_stays_in(calls, tmp_path, "here")
    assert (tmp_path / "victim" / "x.ckpt").read_bytes() == b"precious"


@pytest.mark.skipif(not find_spec("wandb"), reason="the extra wandb is not installed")
def test_wandb_writes_in_the_run_and_connects_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    few = FEW_BATCHES.replace("logger=none", "logger=wandb")
    code, errors, calls = traced(f"train {few} model=softmax hydra.run.dir=run", tmp_path)
    assert code == 0, errors
    assert len(list((tmp_path / "here" / "run").glob(OFFLINE))) == 1
    assert_stays_in([call for call in calls if call[2].name != "wandb-core"], tmp_path, "here/run")
    assert not list((tmp_path / "tmp").rglob("*wandb*"))
