"""Whatever name the file system takes, each verb works with it: of a run, of data, of a value."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from door import COMMAND, main
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mnist_lab.config import hydra_internals
from mnist_lab.config.compose import Loader
from mnist_lab.config.resolve import resolved, run_dir_of
from mnist_lab.config.saved import check_same_config, portable, run_config, stored_config
from mnist_lab.data.mnist_files import Split
from mnist_lab.data.sets import TEST_FILES, TRAIN_FILES, has_set
from mnist_lab.report.read_runs import read_entry
from mnist_lab.runs.directory import CONFIG, MANIFEST, write_metrics
from mnist_lab.runs.manifest import is_finished

HARD = [
    *(
        "a b",
        "a\tb",
        "a\nb",
        "it's",
        'say "a"',
        "a\\",
        "\\",
        "# a",
        "a: b",
        "a=b",
        "a,b",
        "[a]",
        "{a}",
    ),
    *(
        "$a",
        "~",
        "null",
        "1e3",
        "-a",
        "...",
        "größe",
        "数字",
        "\x85",
        "\u2028",
        "\x7f",
        "\udcff",
        "n" * 200,
    ),
    *(
        "a::b",
        "%(a)s",
        "*",
        "?",
        "&",
        "!a",
        "|",
        "a;b",
        "`a`",
        "file:a",
        "s3:",
        "\ufeff",
        " a",
        "a ",
    ),
]
NAMES = (
    st.sampled_from(HARD)
    | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)
    | st.binary(min_size=1, max_size=40).map(os.fsdecode)
).filter(
    lambda name: (
        name not in (".", "..")
        and not {"/", "\0"} & set(name)
        and "${" not in name
        and len(os.fsencode(name)) < 250
    )
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: os.path.join(*names))
ROOTS = st.sampled_from(["beside", "below", "absolute", "no"])
SHORT = [
    *("model=softmax", "trainer=cpu", "trainer.max_steps=2", "data.val_size=20", "logger=csv"),
    *("~callbacks.pictures", "~callbacks.progress", "trainer.enable_model_summary=false"),
]


def quoted(path: str) -> str:
    """Return a path as it is typed after a key, where ~ is the user's home."""
    text = f"./{path}" if path.startswith("~") else path
    return QuotedString(text, Quote.single).with_quotes()


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory, mnist_train: Split) -> Path:
    """A set of 60 images, which is read at once."""
    raw = tmp_path_factory.mktemp("few") / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for images, labels in (TRAIN_FILES, TEST_FILES):
        for name, part in ((images, mnist_train.images[:60, 0]), (labels, mnist_train.labels[:60])):
            sizes = b"".join(size.to_bytes(4, "big") for size in part.shape)
            content = part.to(torch.uint8).numpy().tobytes()
            (raw / name).write_bytes(bytes((0, 0, 8, part.dim())) + sizes + content)
    return raw.parents[1]


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """Work in a folder of an example's own."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def root_of(kind: str, place: Path, run: str, name: str, few_images: Path) -> tuple[str, Path]:
    """Return what is typed as data.root, and the folder that it is, with data in it."""
    typed = {
        "beside": f"{run}_{name[:20]}",
        "below": f"{run}/x{name}",
        "absolute": f"{place}/r{name}",
    }
    folder = place / typed.get(kind, "data")
    shutil.copytree(few_images, folder)
    return typed.get(kind, "data"), folder


def deep(count: int) -> Any:
    """Return the settings of a short search."""
    return settings(max_examples=count, derandomize=True)


def check_configs(place: Path, run: str, kind: str, name: str, few_images: Path) -> None:
    """Compose a run, store it, compose it again, move it, and read it as each verb does."""
    typed, root = root_of(kind, place, run, name, few_images)
    overrides = [f"hydra.run.dir={quoted(run)}", f"data.root={quoted(typed)}", *SHORT]
    loader = Loader(overrides)
    config = loader.compose(overrides)
    run_dir = run_dir_of(config)
    assert Path(os.path.abspath(run_dir)) == place / run
    ran = resolved(config)
    for node in (ran, ran.trainer, ran.logger.csv):
        key = {"trainer": "default_root_dir", "csv": "save_dir"}.get(node._key(), "run_dir")
        OmegaConf.update(node, key, str(place / run))
    OmegaConf.set_struct(ran, False)
    del ran["hydra"]
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / CONFIG).write_text(portable(ran))
    (run_dir / MANIFEST).write_text('{"state": "finished", "precision": "32-true"}')
    write_metrics(run_dir, dict.fromkeys(("epochs", "steps", "time/fit", "time/total"), 1.0))
    check_same_config(run_dir, resolved(Loader(overrides).compose(overrides)))
    moved = place / "moved"
    os.rename(run_dir, moved)
    root = moved / f"x{name}" if kind == "below" else root
    os.chdir("/")
    before = sorted(place.rglob("*"))
    relative = Path(os.path.relpath(moved))
    resumed, again = run_config(relative, []), run_config(moved, [], place=place / "again")
    assert (resumed.run_dir, resumed.logger.csv.save_dir) == (str(relative.absolute()),) * 2
    assert again.logger.csv.save_dir == again.run_dir == str(place / "again")
    for found in (resumed, again, stored_config(moved, [])):
        assert Path(os.path.abspath(found.data.root)) == root
        assert has_set(found.data.root, "mnist")
    assert read_entry(moved).settings["model._target_"] == "mnist_lab.models.SoftmaxRegression"
    assert sorted(place.rglob("*")) == before


@pytest.mark.thorough
@given(PATHS, ROOTS, NAMES)
@deep(4)
def test_configs_of_any_directory(few_images: Path, run: str, kind: str, name: str) -> None:
    with new_folder() as place:
        check_configs(place, run, kind, name, few_images)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_configs_of_many_directories(part: int, few_images: Path) -> None:
    @seed(part)
    @given(PATHS, ROOTS, NAMES)
    @settings(max_examples=50)
    def check(run: str, kind: str, name: str) -> None:
        with new_folder() as place:
            check_configs(place, run, kind, name, few_images)

    check()


def check_runs(
    act: Callable[[list[str]], int], place: Path, run: str, kind: str, name: str, few_images: Path
) -> None:
    """Have each verb work on a run."""
    typed, root = root_of(kind, place, run, name, few_images)
    train = ["train", f"hydra.run.dir={quoted(run)}", f"data.root={quoted(typed)}", *SHORT]
    assert act(train) == 0
    assert is_finished(place / run)
    assert act(train) == 0
    os.rename(place / run, place / "moved")
    root = place / "moved" / f"x{name}" if kind == "below" else root
    before = json.loads((place / "moved" / MANIFEST).read_text())
    (place / "moved" / MANIFEST).write_text(json.dumps(before | {"state": "interrupted"}))
    (place / "elsewhere").mkdir()
    os.chdir(place / "elsewhere")
    content = sorted(path for path in place.rglob("*"))
    assert act(["resume", "../moved"]) == 0
    assert act(["evaluate", str(place / "moved"), "--json"]) == 0
    assert act(["verify", "../moved"]) == 0
    assert act(["report", ".."]) == 0
    after = json.loads((place / "moved" / MANIFEST).read_text())
    assert (after["data"], after["sha256"]) == (before["data"], before["sha256"])
    new = {path.name for path in place.rglob("*")} - {path.name for path in content}
    assert new <= {"train.log"}
    assert has_set(root, "mnist")


@pytest.mark.thorough
@given(PATHS, ROOTS, NAMES)
@deep(2)
def test_runs_in_any_directory(few_images: Path, run: str, kind: str, name: str) -> None:
    with new_folder() as place:
        check_runs(main, place, run, kind, name, few_images)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_commands_in_any_directory(part: int, few_images: Path) -> None:
    def command(arguments: list[str]) -> int:
        done = subprocess.run([COMMAND, *arguments], capture_output=True, timeout=300)
        assert b"Traceback" not in done.stderr, os.fsdecode(done.stderr)
        return done.returncode

    @seed(part)
    @given(PATHS, ROOTS, NAMES)
    @settings(max_examples=4)
    def check(run: str, kind: str, name: str) -> None:
        with new_folder() as place:
            check_runs(command, place, run, kind, name, few_images)

    check()


@pytest.mark.parametrize(
    ("words", "reader"), [(["logger=tensorboard"], "TensorBoard"), (["-m"], "a study's database")]
)
def test_a_folder_whose_name_is_not_utf8_is_refused_for_what_requires_utf8(
    words: list[str], reader: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with new_folder() as place:
        folder = place / "\udcff"
        folder.mkdir()
        os.chdir(folder)
        assert main(["train", *SHORT, *words]) == 2
        line = capfd.readouterr().err.strip()
        assert "\\xff/outputs" in line
        # Under Hydra 1.4 already OmegaConf cannot write the config there.
        first = reader if hydra_internals._IS_1_3 else "OmegaConf 2.4"
        assert f"which {first} requires" in line
        assert "\n" not in line
        assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_a_directory_in_the_users_home(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_folder() as place:
        (place / "home").mkdir()
        (place / "work").mkdir()
        os.chdir(place / "work")
        monkeypatch.setenv("HOME", str(place / "home"))
        words = ["-m", "seed=1,2"] if mode == "sweep" else []
        command = ["train", *words, *SHORT, f"hydra.{mode}.dir='~/mine'"]
        assert main(command) == 0
        assert main(command) == 0  # which goes on there
        assert not [*(place / "work").iterdir()]
        trials = ["0", "1"] if mode == "sweep" else ["."]
        assert all(is_finished(place / "home" / "mine" / trial) for trial in trials)
        assert main(["evaluate", str(place / "home" / "mine" / trials[0])]) == 0
