"""Damaged checkpoints: a run is resumed from the one before, or says what is wrong.

Each goes through the shipped command, in this process for the most part: to import torch takes
longer than all else.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hostile_checkpoints as made
import pytest
import torch
from door import COMMAND, main

from mnist_lab.errors import InputError
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.models import MLP, Classifier, SoftmaxRegression
from mnist_lab.runs.directory import BEST, LAST, MANIFEST, METRICS, PREVIOUS
from mnist_lab.training.checkpoints.newest import best_of, check_fits, newest
from mnist_lab.training.checkpoints.plugin import EARLIER_BEST

DAMAGED = (
    *("empty", "cut to 1", "cut to 4", "cut to 30", "cut to 1000", "cut to 5000", "cut to half"),
    *("cut by 1", "cut by 22", "cut by 100", "cut by 1000"),
    *("flipped magic", "flipped method in the first header", "flipped length of the first name"),
    *("flipped start of the pickle", "flipped middle of the pickle", "flipped end of the pickle"),
    *("flipped tensor", "flipped last tensor", "flipped directory's magic"),
    *("flipped flags in the directory", "flipped method in the directory"),
    *("flipped checksum in the directory", "flipped size in the directory"),
    *("flipped offset in the directory", "flipped number of a tensor", "flipped end's magic"),
    *("flipped number of members", "flipped place of the directory"),
    *("zeros", "zeros from the middle on", "a sector of zeros", "text", "noise", "gzipped"),
    *("something before it", "something after it", "another archive"),
)
# Nothing is read from there: the checkpoint is the same, and a run is resumed from it.
HARMLESS = {
    "flipped method in the first header",
    "flipped flags in the directory",
    "flipped number of members",
    "flipped place of the directory",
    "something after it",
}


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was killed. No test writes there."""
    return made.unfinished_run(tmp_path_factory)


@pytest.fixture
def run_dir(unfinished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unfinished, tmp_path / "run"))


@pytest.fixture(scope="module")
def finished(
    unfinished: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """The hashes of what the run comes to that goes on from its last checkpoint."""
    folder = shutil.copytree(unfinished, tmp_path_factory.mktemp("finished") / "run")
    assert main(["resume", str(folder)]) == 0
    return manifest(Path(folder))["sha256"]


def manifest(run_dir: Path) -> Any:
    return json.loads((run_dir / MANIFEST).read_text())


def content(run_dir: Path) -> dict[str, str]:
    """Return a hash of each file of a run, but for those that say what was tried."""
    return {
        str(path.relative_to(run_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run_dir.rglob("*")
        if path.is_file()
        and path.parent.name != ".hydra"  # which has the last command
        and path.name not in ("train.log", ".lock", MANIFEST)
    }


def step_of(path: Path) -> int:
    step: int = torch.load(path, weights_only=True)["mnist_lab"]["step"]
    return step


def command(verb: str, run_dir: Path) -> list[str]:
    if verb == "train":
        return [*made.START, f"hydra.run.dir={run_dir}"]
    return [verb, str(run_dir)]


def assert_goes_on(
    verb: str,
    run_dir: Path,
    capfd: pytest.CaptureFixture[str],
    finished: dict[str, str],
    good: Path,
) -> None:
    """Assert that a run goes on from a checkpoint to the same bits, and says so if it is not last.

    Args:
        verb: resume or train.
        run_dir: the run.
        capfd: what it prints.
        finished: the hashes of the run that was not damaged.
        good: where in the run the checkpoint is that is good.
    """
    step = step_of(run_dir / good)
    assert step > 0
    assert main(command(verb, run_dir)) == 0
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    said = [line for line in (out + err).splitlines() if "resuming from" in line]
    if good == LAST:
        assert said == []
    else:
        assert len(said) == 1
        assert str(run_dir / LAST) in said[0]
        assert said[0].endswith(f"resuming from {run_dir / PREVIOUS}")
    assert manifest(run_dir)["attempts"][-1]["from_step"] == step
    assert manifest(run_dir)["sha256"] == finished


def assert_refused(
    verb: str, run_dir: Path, capfd: pytest.CaptureFixture[str], path: Path, code: int = 3
) -> None:
    """Assert that a verb ends with one line that names a file, and has changed nothing."""
    before = content(run_dir)
    assert main(command(verb, run_dir)) == code
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    last = err.splitlines()[-1]
    assert re.match(rf"mnist-lab {verb}: {re.escape(str(path))}: \w", last), err
    assert content(run_dir) == before


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", DAMAGED)
def test_a_run_goes_on_where_its_last_checkpoint_is_damaged(
    name: str, run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    good = (run_dir / LAST).read_bytes()
    (run_dir / LAST).write_bytes(made.damaged(good)[name])
    verb = "train" if DAMAGED.index(name) % 10 == 0 else "resume"
    assert_goes_on(verb, run_dir, capfd, finished, LAST if name in HARMLESS else PREVIOUS)


def test_each_damage_is_tried(run_dir: Path) -> None:
    assert set(made.damaged((run_dir / LAST).read_bytes())) == set(DAMAGED)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", [name for name in DAMAGED if name not in HARMLESS][::3])
def test_a_damaged_best_checkpoint_is_not_evaluated(
    name: str, run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = (run_dir / LAST).read_bytes()
    (run_dir / BEST).write_bytes(made.damaged(good)[name])
    assert_refused("evaluate", run_dir, capfd, run_dir / BEST)


@pytest.mark.parametrize("name", made.CHANGES)
def test_a_checkpoint_with_something_else_in_it_is_not_taken(
    name: str, run_dir: Path, softmax: SoftmaxRegression, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = torch.load(run_dir / LAST, weights_only=True)
    (run_dir / LAST).write_bytes(made.saved(made.changed(checkpoint, *made.CHANGES[name])))
    path, _ = newest(run_dir, softmax) or (None, None)
    assert path == run_dir / PREVIOUS
    assert f"{run_dir / LAST}: " in caplog.text


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", [*made.CHANGES][::3])
def test_a_run_goes_on_where_its_last_checkpoint_has_something_else_in_it(
    name: str, run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(run_dir / LAST, weights_only=True)
    (run_dir / LAST).write_bytes(made.saved(made.changed(checkpoint, *made.CHANGES[name])))
    assert_goes_on("resume", run_dir, capfd, finished, PREVIOUS)


def test_a_batch_that_the_epoch_does_not_have_is_refused(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else the epoch would end at once, and the run without the steps that are left."""
    checkpoint = torch.load(run_dir / LAST, weights_only=True)
    for key in ("batch", "total_batches"):
        checkpoint["mnist_lab"][key] = 40
    (run_dir / LAST).write_bytes(made.saved(checkpoint))
    assert main(["resume", str(run_dir)]) == 3
    assert "40 batches of an epoch, which has 40" in capfd.readouterr().err


@pytest.mark.parametrize("key", made.NOT_NEEDED)
def test_what_is_not_needed_may_be_missing(
    key: str, run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(run_dir / LAST, weights_only=True)
    (run_dir / LAST).write_bytes(made.saved(made.changed(checkpoint, key, made.Missing)))
    assert_goes_on("resume", run_dir, capfd, finished, LAST)


@pytest.mark.parametrize("verb", ["resume", "train"])
def test_a_missing_last_checkpoint_is_said(
    verb: str, run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    (run_dir / LAST).unlink()
    assert_goes_on(verb, run_dir, capfd, finished, PREVIOUS)


def test_a_folder_in_place_of_the_last_checkpoint(
    run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    (run_dir / LAST).unlink()
    (run_dir / LAST).mkdir()
    assert_goes_on("resume", run_dir, capfd, finished, PREVIOUS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_in_place_of_the_last_checkpoint(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No run leaves one; whoever opened it would wait."""
    (run_dir / LAST).unlink()
    os.mkfifo(run_dir / LAST)
    assert main(["resume", str(run_dir)]) == 4
    assert f"{run_dir / LAST}: is not a regular file" in capfd.readouterr().err


def test_a_checkpoint_that_may_not_be_read(run_dir: Path) -> None:
    (run_dir / LAST).chmod(0)
    if os.access(run_dir / LAST, os.R_OK):
        pytest.skip("this user may read everything")
    path, _ = newest(run_dir) or (None, None)
    assert path == run_dir / PREVIOUS


@pytest.mark.parametrize("verb", ["resume", "train", "evaluate"])
@pytest.mark.parametrize("names", [(LAST, PREVIOUS), (LAST, PREVIOUS, BEST)])
def test_without_a_good_checkpoint_nothing_starts_afresh(
    verb: str, names: tuple[Path, ...], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(names):
        (run_dir / name).write_bytes((run_dir / LAST).read_bytes()[: 5000 * number])
    path = BEST if verb == "evaluate" and BEST in names else LAST
    assert_refused(verb, run_dir, capfd, run_dir / path)
    assert not (run_dir / METRICS).exists()


def test_a_run_of_which_only_the_best_is_left_does_not_start_afresh(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run_dir / LAST).rename(run_dir / BEST)
    (run_dir / PREVIOUS).unlink()
    assert_refused("resume", run_dir, capfd, run_dir / LAST)


def test_a_damaged_best_checkpoint_does_not_stop_a_run(
    run_dir: Path, finished: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    (run_dir / BEST).write_bytes((run_dir / LAST).read_bytes()[:5000])
    assert_goes_on("resume", run_dir, capfd, finished, LAST)


def test_the_damaged_one_is_put_aside(run_dir: Path) -> None:
    (run_dir / LAST).write_bytes(b"damaged")
    assert main(["resume", str(run_dir)]) == 0
    assert (run_dir / "checkpoints" / "damaged.ckpt").read_bytes() == b"damaged"
    read_checkpoint(run_dir / LAST)
    read_checkpoint(run_dir / PREVIOUS)


@pytest.mark.thorough
def test_as_a_user_meets_it(run_dir: Path) -> None:
    for name in (LAST, PREVIOUS):
        (run_dir / name).write_bytes((run_dir / name).read_bytes()[:60_000])
    done = subprocess.run([COMMAND, "resume", run_dir], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert done.stderr == (
        f"mnist-lab resume: {run_dir / LAST}: not a checkpoint, or one that was cut off\n"
    )


# --- of another model


@pytest.fixture
def softmax() -> SoftmaxRegression:
    with torch.device("meta"):
        return SoftmaxRegression(optimizer={"name": "adam", "lr": 0.003})


def test_a_checkpoint_of_another_model_is_not_taken(unfinished: Path) -> None:
    checkpoint = read_checkpoint(unfinished / LAST)
    with torch.device("meta"):
        other = MLP(hidden_dims=[8])
    with pytest.raises(
        InputError,
        match=r"last.ckpt: not a checkpoint of this model: net.1.weight"
        " is 10x784 there, 8x784 in the model",
    ):
        check_fits(unfinished / LAST, checkpoint, other)


@pytest.mark.parametrize("best", [5, {}, {"state_dict": 5}, {"state_dict": {"net.1.weight": 5}}])
def test_the_best_one_within_a_checkpoint_must_be_one_too(best: Any, run_dir: Path) -> None:
    checkpoint = read_checkpoint(run_dir / LAST)
    torch.save(checkpoint | {EARLIER_BEST: checkpoint}, run_dir / LAST)
    assert newest(run_dir) is not None
    changed = checkpoint | best if isinstance(best, dict) and best else best
    for name in (LAST, PREVIOUS):
        torch.save(checkpoint | {EARLIER_BEST: changed}, run_dir / name)
    with pytest.raises(InputError, match=r"last.ckpt: a run cannot be resumed from it"):
        newest(run_dir)


def test_the_best_one_within_a_checkpoint_must_fit(
    unfinished: Path, softmax: SoftmaxRegression
) -> None:
    checkpoint = read_checkpoint(unfinished / LAST)
    other = checkpoint | {"state_dict": {"net.1.weight": torch.ones(3, 784)}}
    check_fits(unfinished / LAST, checkpoint | {EARLIER_BEST: checkpoint}, softmax)
    with pytest.raises(InputError, match=r"last.ckpt: not a checkpoint of this model"):
        check_fits(unfinished / LAST, checkpoint | {EARLIER_BEST: other}, softmax)


@pytest.mark.parametrize(
    "name", [name for name, (at, _) in made.CHANGES.items() if "state.0" in at]
)
def test_an_optimizers_state_must_fit_the_weights(
    name: str, unfinished: Path, softmax: SoftmaxRegression
) -> None:
    """Torch's fused Adam would write beyond the end of what is too small."""
    checkpoint = read_checkpoint(unfinished / LAST)
    check_fits(unfinished / LAST, checkpoint, softmax)
    with pytest.raises(InputError, match=r"last.ckpt: its optimizer_states are not of this model"):
        check_fits(unfinished / LAST, made.changed(checkpoint, *made.CHANGES[name]), softmax)


class WithOwnOptimizer(Classifier):
    """A model whose author makes the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def test_an_optimizer_of_ones_own_keeps_what_it_likes(unfinished: Path) -> None:
    checkpoint = read_checkpoint(unfinished / LAST)
    other = made.changed(checkpoint, "optimizer_states", [{"state": {0: torch.ones(3)}}])
    check_fits(unfinished / LAST, other, WithOwnOptimizer())


def test_the_newest_is_the_newest_that_fits(run_dir: Path, softmax: SoftmaxRegression) -> None:
    checkpoint = torch.load(run_dir / LAST, weights_only=True)
    other = made.changed(checkpoint, "state_dict", {"net.1.weight": torch.zeros(3, 784)})
    (run_dir / LAST).write_bytes(made.saved(other))
    path, _ = newest(run_dir, softmax) or (None, None)
    assert path == run_dir / PREVIOUS


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("finished", "no checkpoint in it: removed, or its run kept none (callbacks=none, "),
        ("failed", "no checkpoint in it"),
    ],
)
def test_a_run_without_checkpoints_is_not_evaluated(state: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"state": state}))
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: {text}")):
        best_of(tmp_path)
