"""Checkpoints of ill will, through the shipped command: nothing in them is run."""

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import hostile_checkpoints as made
import pytest
from door import COMMAND, main
from measuring import CAN_MEASURE, measured
from refusals import MEGABYTES, assert_refused, finish

from mnist_lab.runs.directory import BEST, LAST, PREVIOUS


@pytest.fixture(scope="module")
def hostile(unfinished: Path) -> dict[str, bytes]:
    """Checkpoints that would write a file named canary."""
    good = (unfinished / LAST).read_bytes()
    return dict(made.hostile(good, Path("canary")))


@pytest.fixture(scope="module")
def bombs(unfinished: Path) -> dict[str, bytes]:
    return dict(made.bombs((unfinished / LAST).read_bytes()))


def put(run_dir: Path, verb: str, content: bytes) -> Path:
    """Put a checkpoint where a verb reads one first, and return where that is."""
    path = run_dir / (BEST if verb == "evaluate" else LAST)
    path.write_bytes(content)
    (run_dir / PREVIOUS).write_bytes(content)
    if verb == "verify":
        finish(run_dir)
    return path


@pytest.mark.parametrize("name", made.HOSTILE)
def test_a_checkpoint_that_names_code(
    name: str,
    hostile: dict[str, bytes],
    run_dir: Path,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if name not in made.NEED_TORCH:
        request.getfixturevalue("no_torch")
    verbs = ["resume", "evaluate"] if name in made.NEED_TORCH else ["resume", "evaluate", "verify"]
    for verb in verbs:
        path = put(run_dir, verb, hostile[name])
        before = path.read_bytes()
        line = assert_refused([verb, str(run_dir)], (4,), capfd)
        assert re.search(rf": {re.escape(str(path.parent))}/\w+\.ckpt: refused: it", line)
        assert path.read_bytes() == before


def test_each_checkpoint_that_names_code_is_tried(
    hostile: dict[str, bytes], bombs: dict[str, bytes]
) -> None:
    assert set(hostile) == set(made.HOSTILE)
    assert set(bombs) == set(made.BOMBS)


@pytest.mark.parametrize("name", ["os.system", "pickle 2 of os.system", "archive of old"])
def test_a_run_whose_command_is_given_again(
    name: str, hostile: dict[str, bytes], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = put(run_dir, "train", hostile[name])
    assert main([*made.START, f"hydra.run.dir={run_dir}"]) == 4
    assert f"mnist-lab train: {path}: refused: it asks for" in capfd.readouterr().err


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", made.BOMBS)
def test_a_checkpoint_that_stands_for_too_much(
    name: str, bombs: dict[str, bytes], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in ("resume", "evaluate"):
        if verb == "resume" and name in made.ONLY_EVALUATED:
            continue
        path = put(run_dir, verb, bombs[name])
        code, _, megabytes = measured(lambda verb=verb: main([verb, str(run_dir)]))
        out, err = capfd.readouterr()
        assert code == 3, out + err
        assert err.startswith(f"mnist-lab {verb}: {path}: ")
        assert len(err.splitlines()) == 1
        assert megabytes < MEGABYTES


# A process starts with the peak of the one that starts it, which is to be a small one.
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000); sys.exit(code)"
)


def run_measured(arguments: list[str], **environment: str) -> tuple[int, str, float]:
    """Run the command in a process of its own; return its code, errors and megabytes."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, str(COMMAND), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return done.returncode, done.stderr, float(done.stdout)


@pytest.mark.skipif(not CAN_MEASURE, reason="memory is measured on Linux")
@pytest.mark.parametrize(("verb", "name"), [("resume", "os.system"), ("evaluate", "partial")])
def test_as_a_user_meets_code(
    verb: str, name: str, hostile: dict[str, bytes], run_dir: Path
) -> None:
    path = put(run_dir, verb, hostile[name])
    code, errors, megabytes = run_measured(
        [verb, str(run_dir)], TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1"
    )
    assert code == 4, errors
    assert re.fullmatch(rf"mnist-lab {verb}: {re.escape(str(path))}: refused: .*\n", errors)
    assert megabytes < 200  # torch has not been imported


@pytest.mark.thorough
@pytest.mark.skipif(not CAN_MEASURE, reason="memory is measured on Linux")
def test_as_a_user_meets_a_bomb(bombs: dict[str, bytes], run_dir: Path) -> None:
    path = put(run_dir, "evaluate", bombs["layers without an end"])
    code, errors, megabytes = run_measured(["evaluate", str(run_dir)])
    assert code == 3, errors
    assert errors.startswith(f"mnist-lab evaluate: {path}: ")
    assert megabytes < 1000  # of which importing Lightning takes most


def test_the_environment_does_not_have_a_pickle_loaded(
    hostile: dict[str, bytes],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also where torch itself is what has to refuse."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for module in ("runs.directory.refuse_code", "config.saved.refuse_code"):
        monkeypatch.setattr(f"mnist_lab.{module}", lambda *_: None)
    monkeypatch.setattr("mnist_lab.files.checkpoint_inspection._check_pickle", lambda *_: None)
    for name in ("os.system", "partial", "numpy", "import"):
        put(run_dir, "evaluate", hostile[name])
        line = assert_refused(["evaluate", str(run_dir)], (4,), capfd)
        assert "refused: it asks for code to be run" in line


@pytest.mark.usefixtures("no_torch")
def test_a_link_to_a_checkpoint_that_names_code(
    hostile: dict[str, bytes], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "elsewhere").write_bytes(hostile["os.system"])
    (run_dir / LAST).unlink()
    (run_dir / LAST).symlink_to("../elsewhere")
    assert "refused: it asks" in assert_refused(["resume", str(run_dir)], (4,), capfd)


class Asked(BaseHTTPRequestHandler):
    """Remembers that it was asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("verb", ["resume", "evaluate", "verify"])
def test_nothing_is_fetched(
    verb: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Asked, "asked", asked := [], raising=False)
    with HTTPServer(("127.0.0.1", 0), Asked) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        place = f"127.0.0.1:{server.server_port}/run"
        for url in (f"http://{place}", f"https://{place}", f"file://{folder}", f"ftp://{place}"):
            assert "no such file" in assert_refused([verb, url], (3,), capfd)
        server.shutdown()
    assert asked == []
