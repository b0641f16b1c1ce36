"""Recognises the digits in images, for the command, the page and Python alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnist_lab.config.saved import stored_config
from mnist_lab.errors import InputError
from mnist_lab.files.images import read_image
from mnist_lab.inference.digit_finder import to_inputs
from mnist_lab.inference.evaluate import class_names_in, load_model
from mnist_lab.inference.logits import logits_of
from mnist_lab.inference.predictions import name_of
from mnist_lab.models import Classifier

SURE = 0.7  # probability below which a prediction is called unsure
_BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one digit of an image.

    Args:
        name: the image's file, or its number.
        position: of the digit in its image, from 1, row by row and from left to right.
        of: number of digits in its image.
        digit: the label of the most probable class; None where the image is empty.
        probability: of that class, 0 to 1.
        runner_up: the second most probable class; None where the image is empty.
        runner_up_probability: of that class, 0 to 1.
        note: why not to rely on it; empty where there is no reason.
        probabilities: of every class; none where the image is empty.
        pixels: ``(28, 28) uint8``: the model's input.
        class_name: what the most probable class is called; its number where it has no name.
        runner_up_name: what the second most probable class is called.
    """

    name: str
    position: int
    of: int
    digit: int | None
    probability: float
    runner_up: int | None
    runner_up_probability: float
    note: str
    probabilities: tuple[float, ...]
    pixels: NDArray[np.uint8]
    class_name: str = ""
    runner_up_name: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return all but the pixels, as builtins; names only of classes that have one."""
        values = asdict(self)
        del values["pixels"]
        if self.class_name == ("" if self.digit is None else str(self.digit)):
            del values["class_name"], values["runner_up_name"]
        return {"file": values.pop("name"), **values}


def predict(model: Classifier | str | Path, images: Any) -> list[Prediction]:
    """Return a model's prediction for each digit in each image, computed in float32.

    Several digits in an image come row by row, from left to right; an image without one has one
    prediction that says so. Digits are brought into MNIST's form first; an MNIST image is left as
    it is, and so is one of 28 x 28 where the run was trained on another set.

    Args:
        model: a model, or a run's directory, whose best checkpoint is read.
        images: one image or an iterable of them, each a file's path, a Pillow image, or an array
            or tensor of ``(H, W)`` or ``(1, H, W)`` uint8.

    Raises:
        InputError: an image is of another type or shape, or a file, the run's directory or its
            checkpoint cannot be read.
        UntrustedError: the run names code.
    """
    run = open_run(Path(model)) if isinstance(model, str | Path) else OpenRun(model, "mnist", ())
    if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", None) == 2:
        images = [images]
    images = list(images)
    inputs = [to_inputs(_as_pillow(image), run.dataset) for image in images]
    names = [
        str(image) if isinstance(image, str | Path) else str(number)
        for number, image in enumerate(images)
    ]
    return recognize(run.model, inputs, names, run.class_names)


def _as_pillow(image: Any) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, np.ndarray | torch.Tensor):
        kind = type(image).__name__
        raise InputError(f"{kind}: a path, a Pillow image, an array or a tensor is required")
    array = np.asarray(image.cpu() if isinstance(image, torch.Tensor) else image)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or not array.size or array.dtype != np.uint8:
        raise InputError(f"{array.dtype} {array.shape}: (H, W) or (1, H, W) uint8 is required")
    return Image.fromarray(array)


@dataclass(frozen=True)
class OpenRun:
    """A run that is ready to predict.

    Args:
        model: of its best checkpoint, in float32.
        dataset: the set that it was trained on.
        class_names: of the classes; none where they are the labels' numbers.
    """

    model: Classifier
    dataset: str
    class_names: tuple[str, ...]


def open_run(run_dir: Path, allow_targets: Sequence[str] = ()) -> OpenRun:
    """Read what a run predicts with.

    Args:
        run_dir: the run's directory.
        allow_targets: overrides that allow the code of one's own package.

    Raises:
        ConfigError: an override is wrong.
        InputError: the run's directory or its checkpoint cannot be read, or training diverged.
        UntrustedError: the run names code that is neither the lab's nor allowed.
    """
    config = stored_config(run_dir, allow_targets)
    model: Classifier = load_model(run_dir, config).float().eval()
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise InputError(f"{run_dir}: training diverged: weights are NaN or infinite")
    return OpenRun(model, str(config.data.get("dataset")), class_names_in(run_dir))


@torch.inference_mode()
def recognize(
    model: Classifier,
    inputs: Sequence[Sequence[NDArray[np.uint8]]],
    names: Sequence[str],
    class_names: Sequence[str] = (),
) -> list[Prediction]:
    """Return a model's prediction for each digit of some images.

    Args:
        model: the model; whether it is in training mode is left as it was.
        inputs: the digits of each image, ``(28, 28) uint8`` each.
        names: the name of each image.
        class_names: of the classes; none where they are the labels' numbers.
    """
    arrays = [pixels for digits in inputs for pixels in digits]
    places = [
        (name, position, len(digits))
        for name, digits in zip(names, inputs, strict=True)
        for position in range(1, len(digits) + 1)
    ]
    was_training = model.training
    model.eval()
    rows: list[list[float]] = []
    for start in range(0, len(arrays), _BATCH):
        images = torch.from_numpy(np.stack(arrays[start : start + _BATCH])).unsqueeze(1)
        rows += logits_of(model, images.to(model.device)).softmax(dim=1).tolist()
    model.train(was_training)
    found = zip(places, arrays, rows, strict=True)
    return [_prediction(*values, class_names) for values in found]


def _prediction(
    place: tuple[str, int, int],
    pixels: NDArray[np.uint8],
    probabilities: Sequence[float],
    class_names: Sequence[str],
) -> Prediction:
    if not pixels.any():
        return Prediction(*place, None, 0.0, None, 0.0, "empty: no digit found", (), pixels)
    second, first = np.argsort(probabilities, kind="stable")[-2:].tolist()
    return Prediction(
        *place,
        digit=first,
        probability=probabilities[first],
        runner_up=second,
        runner_up_probability=probabilities[second],
        note="" if probabilities[first] >= SURE else "unsure",
        probabilities=tuple(probabilities),
        pixels=pixels,
        class_name=name_of(first, class_names),
        runner_up_name=name_of(second, class_names),
    )
