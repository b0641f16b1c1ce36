"""``predict`` reads images of every kind, and survives those that are malicious."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from door import COMMAND, call
from hostile_images import bad_contents, make_bad_images
from measuring import measured
from PIL import Image

from mnist_lab.data.mnist_files import Split
from mnist_lab.inference.predict import open_run

KINDS = ("png", "jpg", "webp", "bmp", "gif", "tiff")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, mnist_test: Split) -> Path:
    """A folder of 200 MNIST test images."""
    folder = tmp_path_factory.mktemp("images") / "digits"
    folder.mkdir()
    for number, image in enumerate(mnist_test.images[:200, 0].numpy()):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return folder


def test_gives_the_models_own_answers(
    trained: Path, digits: Path, tmp_path: Path, mnist_test: Split
) -> None:
    done = call(f"predict {trained} {digits} --json --show seen", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    with torch.inference_mode():
        own = open_run(trained).model(mnist_test.images[:200]).softmax(dim=1)
    assert [row["digit"] for row in rows] == own.argmax(dim=1).tolist()
    assert [row["file"] for row in rows] == [str(path) for path in sorted(digits.iterdir())]
    found = torch.tensor([row["probabilities"] for row in rows])
    torch.testing.assert_close(found, own, atol=1e-5, rtol=0)
    for row in rows:
        classes = sorted(range(10), key=lambda c, p=row["probabilities"]: -p[c])
        assert [row["digit"], row["runner_up"]] == classes[:2]
        assert bool(row["note"]) == (row["probability"] < 0.7)
    for number, image in enumerate(mnist_test.images[:200, 0].numpy()):
        with Image.open(tmp_path / "seen" / f"{number:03}.png") as seen:
            assert seen.mode == "L"
            assert np.asarray(seen).tobytes() == image.tobytes()


def cells_of(table: str) -> list[list[str]]:
    """Return the cells of each line of a table."""
    return [re.split(" {2,}", line) for line in table.splitlines()]


def test_table_of_every_kind_of_file(trained: Path, digits: Path, tmp_path: Path) -> None:
    with Image.open(digits / "000.png") as image:
        for kind in KINDS:
            image.convert("RGB").resize((200, 300)).save(tmp_path / f"seven.{kind}")
    Image.new("L", (50, 50)).save(tmp_path / "nothing.png")
    (tmp_path / "notes.txt").write_text("is not read")
    done = call(f"predict {trained} .", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    header, _, *rows = cells_of(done.stdout)
    assert header == ["file", "digit", "probability", "runner-up"]
    cells = {name: answer for name, *answer in rows}
    assert set(cells) == {"nothing.png"} | {f"seven.{kind}" for kind in KINDS}
    assert cells.pop("nothing.png") == ["-", "-", "-", "empty: no digit found"]
    assert {row[0] for row in cells.values()} == {"7"}


def test_several_digits_have_a_row_each(
    trained: Path, digits: Path, tmp_path: Path, mnist_test: Split
) -> None:
    pixels = np.hstack(mnist_test.images[:3, 0].numpy())
    Image.fromarray(pixels).save(tmp_path / "three.png")
    done = call(f"predict {trained} three.png {digits}/003.png nowhere.png --show seen", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    rows = cells_of(done.stdout)[2:]
    assert [row[0] for row in rows[:3]] == ["three.png"] * 3
    assert [row[1] for row in rows] == ["7", "2", "1", "0"]
    assert [row[4:] for row in rows] == [["1 of 3"], ["2 of 3"], ["3 of 3"], []]
    with Image.open(tmp_path / "seen" / "three.png") as seen:
        assert seen.size == (84, 28)
    done = call(f"predict {trained} three.png --json --show seen.png", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = [(row["file"], row["position"], row["of"]) for row in json.loads(done.stdout)]
    assert found == [("three.png", number, 3) for number in (1, 2, 3)]
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.size == (84, 28)


@pytest.mark.slow
def test_pattern_and_one_image_to_a_file(trained: Path, digits: Path, tmp_path: Path) -> None:
    done = call(f"predict {trained} '{digits}/00[0-4].png'", tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2 + 5)
    done = call(f"predict {trained} {digits}/000.png --show seen.png", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "seen.png").read_bytes()[:4] == b"\x89PNG"
    done = call(f"predict {trained} {digits} --show seen.png", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    (tmp_path / "file").write_text("")
    done = call(f"predict {trained} {digits} --show file/seen", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A folder with one.png, and one.png and two.jpg below scans."""
    (tmp_path / "scans").mkdir()
    for name in ("one.png", "scans/one.png", "scans/two.jpg"):
        Image.new("L", (56, 56)).save(tmp_path / name)
    return tmp_path


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("one.png --show one.png", "one.png: is one of the images that are read"),
        ("one.png --show ./scans/../one.png", "one.png: is one of the images that are read"),
        ("one.png --show link.png --overwrite", "link.png: is one of the images that are read"),
        ("scans --show scans", "scans/one.png: is one of the images that are read"),
        ("scans --show scans --overwrite", "scans/one.png: is one of the images that are read"),
        ("scans/two.jpg --show one.png", "one.png: is there already; --overwrite replaces it"),
        ("one.png --show scans", "scans/one.png: is there already; --overwrite replaces it"),
        ("one.png --show seen.jpg", "--show seen.jpg: must be a .png file, or a folder"),
        ("scans --show seen.WEBP", "--show seen.WEBP: must be a .png file, or a folder"),
        ("one.png --show notes", "--show notes: must be a .png file, or a folder; it is a file"),
        ("one.png --show folder.png", "folder.png: must be a regular file, or a path"),
        ("one.png --show pipe", "--show pipe: must be a .png file, or a folder; it is a file"),
        ("one.png --show pipe.png --overwrite", "pipe.png: must be a regular file, or a path"),
    ],
)
def test_no_file_of_the_users_is_replaced(
    trained: Path, drawn: Path, words: str, message: str
) -> None:
    (drawn / "link.png").symlink_to("one.png")
    (drawn / "folder.png").mkdir()
    for name in ("pipe", "pipe.png"):
        os.mkfifo(drawn / name)
    (drawn / "notes").write_text("mine")
    before = files_below(drawn)
    done = call(f"predict {trained} {words}", drawn)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert files_below(drawn) == before
    assert not list(drawn.glob("seen*"))


def test_what_was_shown_before_is_replaced_where_asked(trained: Path, drawn: Path) -> None:
    for place in ("seen.png", "seen"):
        words = f"predict {trained} scans/two.jpg --show {place}"
        assert call(words, drawn).returncode == 0
        done = call(words, drawn)
        assert (done.returncode, "is there already" in done.stderr) == (2, True)
        assert call(f"{words} --overwrite", drawn).returncode == 0


def test_shows_names_as_text(trained: Path, digits: Path, tmp_path: Path) -> None:
    content = (digits / "000.png").read_bytes()
    for name in (b"[red]\x1b[2J\n.png", b"\xff\xfe.png", "三.png".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    done = call(f"predict {trained} . --show seen", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2 + 3
    assert "\x1b" not in done.stdout
    assert len(list((tmp_path / "seen").iterdir())) == 3


@pytest.mark.thorough
def test_bad_images_are_a_line_each_and_good_ones_are_read(
    trained: Path, digits: Path, tmp_path: Path
) -> None:
    bad = make_bad_images(tmp_path)
    if os.geteuid() == 0:  # whom no permission holds back; the file is no image either
        (tmp_path / "no-permission.png").chmod(0o600)
    good = [digits / "000.png", digits / "001.png"]
    words = [str(good[0]), *map(str, bad), str(good[1])]
    command = shlex.join(["predict", str(trained), "--json", *words])
    call(f"predict {trained} {good[0]}", tmp_path)  # so that what is imported is not counted
    done, _, megabytes = measured(lambda: call(command, tmp_path))
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(bad) >= 60
    assert len(lines) == len(bad), done.stderr
    for path, line in zip(bad, lines, strict=True):
        assert line.startswith(f"mnist-lab predict: {path}: "), line
        assert len(line) < len(str(path)) + 140
    assert [row["digit"] for row in json.loads(done.stdout)] == [7, 2]
    assert megabytes < 300
    assert not (tmp_path / "evidence").exists()


def test_an_image_that_is_meant_twice_is_read_once(trained: Path, digits: Path) -> None:
    done = call(f"predict {trained} {digits} {digits}/000.png {digits}/00*.png --json", digits)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len(list(digits.iterdir()))


@pytest.mark.thorough
def test_no_bad_image_takes_long() -> None:
    from mnist_lab.errors import InputError
    from mnist_lab.files.images import decode_image
    from mnist_lab.inference.digit_finder import to_inputs

    for name, content in bad_contents().items():
        before = time.process_time()
        with pytest.raises(InputError, match="^" + name.replace(".", r"\.")):
            to_inputs(decode_image(content, name))
        assert time.process_time() - before < 1, name


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("predict", 2),
        ("predict {run}", 2),
        ("predict {run} a.png --jsn", 2),
        ("predict {run} allow_targets=[x.]", 2),
        ("predict nowhere a.png", 3),
    ],
)
def test_wrong_use_is_one_line(trained: Path, tmp_path: Path, arguments: str, code: int) -> None:
    done = call(arguments.format(run=trained), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


@pytest.mark.thorough
def test_progress_is_for_a_terminal_only(trained: Path, digits: Path) -> None:
    command = f"{COMMAND} predict {trained} {digits}"
    shown = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=300
    )
    assert "reading" in shown.stdout
