"""``mnist-lab card`` through the shipped door."""

import json
import os
import re
from pathlib import Path

import pytest
from door import FEW_BATCHES, call, train

from mnist_lab.inference.corruptions import CORRUPTIONS


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run with its card."""
    folder = tmp_path_factory.mktemp("card")
    run_dir = train(f"model=softmax protocol=sealed {FEW_BATCHES}", folder)
    done = call(f"card {run_dir}", folder)
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.mark.thorough
def test_both_forms_have_all_parts(run_dir: Path) -> None:
    text, page = (run_dir / "card.md").read_text(), (run_dir / "card.html").read_text()
    manifest = json.loads((run_dir / "manifest.json").read_text())
    parts = [name.replace("_", " ") for name in CORRUPTIONS]
    parts += ["By class", "Calibration", "-60 degrees", "8 pixels", "Other writers", "sealed"]
    parts += [manifest["data"]["test"], manifest["sha256"]["model"], "1,797 digits"]
    for part in parts:
        assert part in text
        assert part in page
    shares = [float(value) for value in re.findall(r"\| ([\d.]+)% \|", text)]
    assert len(shares) > 30
    assert all(0 <= share <= 100 for share in shares)
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (run_dir / name).read_bytes().startswith(b"\x89PNG")
    assert page.count('src="data:image/png') == 2
    assert "http" not in page


def test_what_is_not_changed_has_the_accuracy_of_an_evaluation(run_dir: Path) -> None:
    done = call(f"evaluate {run_dir} trainer.limit_test_batches=1.0 --json", run_dir)
    accuracy = json.loads(done.stdout)["test/acc"]
    assert f"{accuracy:.2%} of 10,000 test images" in (run_dir / "card.md").read_text()


def test_the_reading_is_counted(run_dir: Path) -> None:
    readings = json.loads((run_dir / "manifest.json").read_text())["test_readings"]
    assert [reading["by"] for reading in readings][:2] == ["train", "card"]


def test_colour_images_are_one_line_and_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "colour.yaml").write_text("_target_: own_code.Colour\n")
    words = "--config-dir mine data=colour model=softmax protocol=sealed ~callbacks.pictures"
    run = train(f"{words} {FEW_BATCHES}", tmp_path)
    before = sorted(run.rglob("*")), (run / "manifest.json").read_text()
    done = call(f"card {run}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "card needs grey test images (N, 1, H, W) uint8; found uint8 (10000, 3," in done.stderr
    assert (sorted(run.rglob("*")), (run / "manifest.json").read_text()) == before


def test_a_missing_folder_is_one_line(run_dir: Path) -> None:
    done = call(f"card {run_dir} --output {run_dir}/none", run_dir)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


@pytest.mark.thorough
def test_a_card_replaces_another_file_only_where_asked(run_dir: Path, tmp_path: Path) -> None:
    for name in ("card.md", "card_2.png"):
        (tmp_path / name).write_text("mine")
        done = call(f"card {run_dir} --output .", tmp_path)
        line = f"mnist-lab card: {name}: is there already; --overwrite replaces it\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()
    (tmp_path / "card.html").write_text("mine")
    for words in ("--overwrite", ""):  # then it is a card
        done = call(f"card {run_dir} --output . {words}", tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / "card_1.png").unlink()
    os.mkfifo(tmp_path / "card_1.png")
    for place in (".", "card_1.png"):
        done = call(f"card {run_dir} --output {place} --overwrite", tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "card_1.png").is_fifo()
