"""``predict`` from Python takes what one has at hand."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from door import call
from PIL import Image, ImageDraw

from mnist_lab import MLP, MNISTDataModule, SoftmaxRegression, predict
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


def test_leaves_the_model_as_it_was_where_it_fails() -> None:
    model = MLP()
    model.forward = lambda _: torch.empty(1, 0)[3]  # type: ignore[method-assign]
    with pytest.raises(IndexError):
        predict(model, np.full((28, 28), 255, np.uint8))
    assert model.training


def test_an_empty_image_has_no_digit() -> None:
    (one,) = predict(MLP(hidden_dims=[8]), torch.zeros(28, 28, dtype=torch.uint8))
    assert (one.digit, one.runner_up, one.probabilities) == (None, None, ())
    assert one.note == "empty: no digit found"


@pytest.mark.parametrize(
    "bad",
    [
        *([3.5], [np.zeros((28, 28))], [np.zeros((3, 8, 8), np.uint8)], [b""], None, 5),
        *([np.zeros((3, 9), np.uint8)], [Image.new("L", (9, 2))]),
    ],
)
def test_what_is_no_image_is_refused(bad: object) -> None:
    with pytest.raises(InputError, match="is required"):
        predict(MLP(hidden_dims=[8]), bad)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_array_in_colour_is_one_image(mode: str) -> None:
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).line((150, 40, 150, 160), "black", 12)
    model = MLP(hidden_dims=[8])
    (one,) = predict(model, np.asarray(image.convert(mode)))
    assert one.pixels.tobytes() == predict(model, image)[0].pixels.tobytes()


def test_a_set_of_ones_own_that_is_not_of_digits_is_scaled_as_a_whole(tmp_path: Path) -> None:
    images = np.zeros((40, 28, 28), np.uint8)
    images[::2, 3:6], images[1::2, :, 3:6] = 200, 200
    labels = np.arange(40) % 2
    names = np.array(["lying", "standing"])
    np.savez(
        tmp_path / "lines.npz", x_train=images, y_train=labels, x_test=images, y_test=labels,
        class_names=names,
    )  # fmt: skip
    datamodule = MNISTDataModule("arrays", root=str(tmp_path / "lines.npz"), val_size=4)
    model = SoftmaxRegression(num_classes=2)
    large = Image.fromarray(images[0]).resize((280, 280), Image.Resampling.NEAREST)
    for image in (images[0], large):
        (one,) = predict(model, image, datamodule)
        difference = np.abs(one.pixels.astype(int) - images[0])
        assert difference.mean() < 5  # edges are soft where an image was scaled
        assert one.class_name in names


def test_images_in_colour_are_given_in_colour_and_in_their_size() -> None:
    datamodule = SimpleNamespace(in_shape=(3, 32, 32), num_classes=3)
    model = SoftmaxRegression(num_classes=3, in_shape=(3, 32, 32)).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = predict(model, pixels.movedim(1, 3), datamodule)
    assert found[0].pixels.shape == (32, 32, 3)
    probabilities = model(pixels).softmax(1)
    for one, own in zip(found, probabilities, strict=True):
        assert one.probabilities == pytest.approx(own.tolist())
        assert one.note == "unsure" if max(one.probabilities) < 0.7 else not one.note
