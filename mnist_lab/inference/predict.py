"""Recognises the digits in images, for the command, the page and Python alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnist_lab.config.model_schema import Data
from mnist_lab.config.saved import stored_config
from mnist_lab.data.sets import class_names_of
from mnist_lab.errors import InputError
from mnist_lab.files.images import SIDE, check_side, read_image
from mnist_lab.inference.digit_finder import to_inputs
from mnist_lab.inference.evaluate import class_names_in, load_model
from mnist_lab.inference.predictions import logits_of_batch, name_of
from mnist_lab.models import Classifier
from mnist_lab.models.layers import fitted

SURE = 0.7  # probability below which a prediction is called unsure
_BATCH = 256
_IN_SHAPE = (1, SIDE, SIDE)


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
        pixels: ``(28, 28) uint8``: the model's input; of a set of one's own in its images' size,
            and ``(H, W, 3)`` in colour.
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


def predict(
    model: Classifier | str | Path, images: Any, datamodule: Any = None
) -> list[Prediction]:
    """Return a model's prediction for each digit in each image, computed in float32.

    Several digits in an image come row by row, from left to right; an image without one has one
    prediction that says so. Digits are brought into MNIST's form first; an MNIST image is left as
    it is, and so is one of 28 x 28 where the model was trained on another set. Where that is
    neither of digits nor one that the lab knows, images are scaled as a whole.

    Args:
        model: a model, or a run's directory, whose best checkpoint is read.
        images: one image or an iterable of them, each a file's path, a Pillow image, or an array
            or tensor of ``(H, W)``, ``(1, H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8.
        datamodule: what a model that is given was trained on; None is MNIST. A run says it itself.

    Raises:
        InputError: an image is of another type or shape, or a file, the run's directory or its
            checkpoint cannot be read.
        UntrustedError: the run names code.
    """
    run = open_run(Path(model)) if isinstance(model, str | Path) else _opened(model, datamodule)
    if isinstance(images, str | Path | Image.Image) or _is_one(images):
        images = [images]
    try:
        images = list(images)
    except TypeError:
        images = [images]
    inputs = [run.inputs(_as_pillow(image, number)) for number, image in enumerate(images)]
    names = [
        str(image) if isinstance(image, str | Path) else str(number)
        for number, image in enumerate(images)
    ]
    return recognize(run.model, inputs, names, run.class_names)


def _is_one(images: Any) -> bool:
    """Return whether an array is one image: of ``(H, W)``, or in colour."""
    shape: tuple[int, ...] = tuple(getattr(images, "shape", ()))
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4))


def _as_pillow(image: Any, number: int) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    own = image if isinstance(image, Image.Image) else _from_array(image)
    check_side(own, f"image {number}")
    return own


def _from_array(image: Any) -> Image.Image:
    if not isinstance(image, np.ndarray | torch.Tensor):
        kind = type(image).__name__
        raise InputError(f"{kind}: a path, a Pillow image, an array or a tensor is required")
    array = np.asarray(image.cpu() if isinstance(image, torch.Tensor) else image)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if not _is_one(array) or not array.size or array.dtype != np.uint8:
        raise InputError(
            f"{array.dtype} {array.shape}: (H, W), (1, H, W) or (H, W, 3) uint8 is required"
        )
    return Image.fromarray(array)


@dataclass(frozen=True)
class OpenRun:
    """A run that is ready to predict.

    Args:
        model: of its best checkpoint, in float32.
        dataset: the set that it was trained on, as ``to_inputs`` takes it.
        class_names: of the classes; none where they are the labels' numbers.
        in_shape: of the set's images.
    """

    model: Classifier
    dataset: str
    class_names: tuple[str, ...]
    in_shape: tuple[int, int, int] = _IN_SHAPE

    def inputs(self, image: Image.Image) -> list[NDArray[np.uint8]]:
        """Return what the model is asked about an image."""
        return to_inputs(image, self.dataset, self.in_shape)


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
    is_own = config.data._target_ != Data._target_
    in_shape = getattr(model, "in_shape", _IN_SHAPE) if is_own else _IN_SHAPE
    return _run_of(model, config.data.get("dataset"), class_names_in(run_dir), in_shape)


def _opened(model: Classifier, datamodule: Any) -> OpenRun:
    """Return a model that is given ready to predict."""
    if datamodule is None:
        return OpenRun(model, "mnist", ())
    in_shape = getattr(datamodule, "in_shape", _IN_SHAPE)
    dataset = getattr(datamodule, "dataset", None)
    return _run_of(model, dataset, class_names_of(datamodule), in_shape)


def _run_of(
    model: Classifier, dataset: str | None, class_names: tuple[str, ...], in_shape: Sequence[int]
) -> OpenRun:
    """Return a run; a set of one's own is taken for digits if it may well be one of them.

    Such a set has grey images of 28 x 28 in ten classes without names.
    """
    channels, height, width = in_shape
    has_form = (channels, height, width) == _IN_SHAPE
    if not has_form:
        dataset = None
    elif dataset in (None, "arrays") and getattr(model, "num_classes", 10) == 10:
        dataset = "images" if class_names else "digits"
    return OpenRun(model, dataset or "images", class_names, (channels, height, width))


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
        inputs: the digits of each image, as ``Prediction.pixels``.
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
    rows: list[list[float]] = []
    try:
        model.eval()
        for start in range(0, len(arrays), _BATCH):
            images = torch.from_numpy(np.stack(arrays[start : start + _BATCH]))
            images = images.movedim(3, 1) if images.ndim == 4 else images.unsqueeze(1)
            images = fitted(images.to(model.device), getattr(model, "in_shape", _IN_SHAPE))
            rows += logits_of_batch(model, images).softmax(dim=1).tolist()
    finally:
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
