"""``predict`` from Python takes what one has at hand."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from door import call
from PIL import Image

from mnist_lab import MLP, predict
from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import InputError
from mnist_lab.inference.predict import open_run
from mnist_lab.runs.directory import CONFIG, MANIFEST


def test_takes_paths_images_arrays_and_tensors(
    trained: Path, mnist_test: Split, tmp_path: Path
) -> None:
    tensor = mnist_test.images[0]
    array = tensor[0].numpy()
    Image.fromarray(array).save(tmp_path / "seven.png")
    path = tmp_path / "seven.png"
    many = predict(trained, [path, str(path), Image.fromarray(array), array, tensor])
    model = open_run(trained).model
    for one in (path, Image.fromarray(array), array, tensor[0]):
        many += predict(model, one)
    many += predict(model, mnist_test.images[:1])
    assert [one.digit for one in many] == [7] * 10
    assert {one.pixels.tobytes() for one in many} == {array.tobytes()}
    assert many[0].name == str(path)
    assert many[3].name == "3"
    assert predict(model, []) == []


def test_an_image_of_another_set_is_left_as_it_is(trained: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    for path in (run_dir / CONFIG, run_dir / MANIFEST):
        text = path.read_text()
        path.write_text(re.sub(r'(dataset"?: "?)mnist', r"\1fashion_mnist", text))
    bag = np.full((28, 28), 90, np.uint8)
    bag[9:, 2:26] = 200
    Image.fromarray(bag).save(tmp_path / "bag.png")
    (one,) = predict(run_dir, bag)
    assert one.pixels.tobytes() == bag.tobytes()
    assert predict(trained, bag)[0].pixels.tobytes() != bag.tobytes()
    done = call("predict run bag.png --show seen.png", tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "seen.png")).tobytes() == bag.tobytes()


def test_leaves_the_model_as_it_was() -> None:
    model = MLP(hidden_dims=[8], num_classes=3).train()
    (one,) = predict(model, np.eye(28, dtype=np.uint8) * 255)
    assert model.training
    assert sum(one.probabilities) == pytest.approx(1)
    assert len(one.probabilities) == 3
    assert one.note == "unsure"


def test_an_empty_image_has_no_digit() -> None:
    (one,) = predict(MLP(hidden_dims=[8]), torch.zeros(28, 28, dtype=torch.uint8))
    assert (one.digit, one.runner_up, one.probabilities) == (None, None, ())
    assert one.note == "empty: no digit found"


@pytest.mark.parametrize(
    "bad", [[3.5], [np.zeros((28, 28))], [np.zeros((3, 8, 8), np.uint8)], [b""]]
)
def test_what_is_no_image_is_refused(bad: list) -> None:
    with pytest.raises(InputError, match="is required"):
        predict(MLP(hidden_dims=[8]), bad)
