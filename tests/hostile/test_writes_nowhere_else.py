"""What every verb writes: the run's or sweep's directory, the lab's cache, and what is typed."""

import getpass
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml
from door import FEW_BATCHES, call
from PIL import Image

from mnist_lab.data.mnist_files import cache
from mnist_lab.runs.directory import CONFIG

SHORT = f"model=softmax {FEW_BATCHES}"
IMAGES = "t10k-images-idx3-ubyte"
LIBRARIES = (  # matplotlib's list of fonts, and a folder of torch's compiler
    *("home/.cache/matplotlib", "home/.config"),
    f"tmp/torchinductor_{getpass.getuser()}",
)
PLACES = ("home", "here", "tmp", "sets", "run", "sweep", "images")


def listing(root: Path) -> dict[str, str]:
    """Return the hash of every file and the target of every link below a folder."""
    seen = {}
    for path in sorted(root.rglob("*")):
        text = os.readlink(path) if path.is_symlink() else f"{path.lstat().st_mode:o}"
        if path.is_file():
            text += hashlib.sha256(path.read_bytes()).hexdigest()
        seen[path.relative_to(root).as_posix()] = text
    return seen


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.fixture
def world(
    tmp_path: Path, mnist_files: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with everything that a command may know of, beside a run that was stopped."""
    for name in PLACES:
        (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.delenv("MNIST_LAB_DATA", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    shutil.copytree(mnist_files, cache() / "MNIST" / "raw")
    shutil.copytree(unfinished, tmp_path / "run", dirs_exist_ok=True)
    Image.new("L", (28, 28)).save(tmp_path / "images" / "a.png")
    for name in ("metrics.csv", "config.yaml", "train.log", "last.ckpt", ".x.partial"):
        (tmp_path / "here" / name).write_text("mine")
    return tmp_path


def done(command: str, world: Path, *places: str, code: int = 0) -> None:
    """Run a command in ``here``, and assert that only these places have changed."""
    before = listing(world)
    ended = call(command, world / "here")
    assert ended.returncode == code, ended.stderr
    others = {
        name
        for name in changed(before, listing(world))
        if not any(name == place or name.startswith(f"{place}/") for place in (*LIBRARIES, *places))
    }
    assert not others, command


@pytest.mark.slow
def test_commands_of_a_run(world: Path) -> None:
    done(f"train {SHORT} hydra.run.dir=../new", world, "new")
    done(f"train {SHORT} data.root=../sets hydra.run.dir=../mine", world, "mine", "sets")
    done("resume ../run", world, "run")
    done("resume ../run", world, "run")
    done("evaluate ../run", world)
    done("verify ../run", world)
    done("predict ../run ../images", world)
    done("predict ../run ../images --show=../shown", world, "shown")
    done("predict ../run ../images/a.png --show=../a.png", world, "a.png")
    done("export ../run --format=torch --output=../model.pt2", world, "model.pt2")
    done("report ..", world)
    done("report .. --html=../page.html", world, "page.html")


@pytest.mark.thorough
def test_commands_of_a_sweep(world: Path) -> None:
    sweep = "hydra.sweep.dir=../sweep"
    done(f"train -m {SHORT} model.num_classes=10 seed=1,2 {sweep}", world, "sweep")
    done("resume ../sweep", world, "sweep")
    done("report ../sweep --csv", world)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["resume", "evaluate", "verify", "predict"])
@pytest.mark.parametrize("root", ["absolute", "relative", "of_the_run", "lacks_one"])
def test_a_root_that_a_directory_names_is_only_read(verb: str, root: str, world: Path) -> None:
    named = {
        "absolute": str(world / "sets"),
        "relative": "../sets",
        "of_the_run": "././sets",
        "lacks_one": str(world / "sets"),
    }[root]
    if root == "lacks_one":
        shutil.copytree(cache() / "MNIST", world / "sets" / "MNIST")
        (world / "sets" / "MNIST" / "raw" / IMAGES).unlink()
    path = world / "run" / CONFIG
    config = yaml.safe_load(path.read_text())
    config["data"]["root"] = named
    path.write_text(yaml.safe_dump(config))
    if verb == "verify":
        done("resume ../run", world, "run")
    done(
        {"predict": "predict ../run ../images/a.png"}.get(verb, f"{verb} ../run"),
        world,
        *(["run"] if verb == "resume" else []),
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["evaluate", "verify", "predict", "report", "export"])
def test_what_only_reads_fills_no_chosen_folder(
    verb: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNIST_LAB_DATA is filled by training, which verify does again."""
    done("resume ../run", world, "run")
    monkeypatch.setenv("MNIST_LAB_DATA", str(world / "sets"))
    words = {
        "predict": "predict ../run ../images/a.png",
        "export": "export ../run --format=torch --output=../model.pt2",
    }
    places = ["sets"] if verb == "verify" else ["model.pt2"]
    done(words.get(verb, f"{verb} ../run"), world, *places)
