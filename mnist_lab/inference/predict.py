"""Recognises the digits in pictures, for the command, the page and Python alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnist_lab.config.saved import stored_config
from mnist_lab.errors import InputError
from mnist_lab.files.images import read_image
from mnist_lab.inference.digit_finder import SIDE, in_form_of
from mnist_lab.inference.evaluate import load_model
from mnist_lab.models import Classifier

SURE = 0.7  # probability below which a prediction is called unsure
_BATCH = 256
_EMPTY = "empty: no digit found"


@dataclass(frozen=True)
class Prediction:
    """What a model says about one picture.

    Args:
        name: the picture's file, or its number.
        digit: the most probable class; None where the picture is empty.
        probability: of that class, 0 to 1.
        runner_up: the second most probable class; None where the picture is empty.
        runner_up_probability: of that one.
        note: why not to rely on it; empty where there is no reason.
        probabilities: of every class; none where the picture is empty.
        pixels: ``(28, 28) uint8``: what the model saw.
    """

    name: str
    digit: int | None
    probability: float
    runner_up: int | None
    runner_up_probability: float
    note: str
    probabilities: tuple[float, ...]
    pixels: NDArray[np.uint8]

    def as_json(self) -> dict[str, Any]:
        """Return all but the pixels, as builtins."""
        return {
            "file": self.name,
            "digit": self.digit,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "runner_up_probability": self.runner_up_probability,
            "note": self.note,
            "probabilities": list(self.probabilities),
        }


def predict(model: Classifier | str | Path, images: Any) -> list[Prediction]:
    """Return what a model says about each picture, computed in float32.

    Each picture is brought into MNIST's form first; an MNIST image is left as it is, and one of
    28 x 28 where the run was trained on another set.

    Args:
        model: a model, or a run's directory, whose best checkpoint is read.
        images: one picture or an iterable of them, each a file's path, a Pillow image, or an array
            or tensor of ``(H, W)`` or ``(1, H, W)`` uint8.

    Raises:
        InputError: a picture is of another type or shape, or a file, the run's directory or its
            checkpoint cannot be read.
        UntrustedError: the run names code.
    """
    single = isinstance(images, str | Path | Image.Image)
    if isinstance(images, np.ndarray | torch.Tensor):
        single = images.ndim == 2
    dataset = "mnist"
    if not isinstance(model, Classifier):
        dataset = str(stored_config(Path(model), []).data.dataset)
        model = load_run(Path(model))
    names, pixels = [], []
    for number, one in enumerate([images] if single else images):
        names.append(str(one) if isinstance(one, str | Path) else str(number))
        pixels.append(in_form_of(dataset, _opened(one)))
    return recognize(model, pixels, names)


def _opened(one: Any) -> Image.Image:
    if isinstance(one, str | Path):
        return read_image(Path(one))
    if isinstance(one, Image.Image):
        return one
    if isinstance(one, np.ndarray | torch.Tensor):
        array = np.asarray(one.cpu() if isinstance(one, torch.Tensor) else one)
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim == 2 and array.size and array.dtype == np.uint8:
            return Image.fromarray(array)
        raise InputError(f"{array.dtype} {array.shape}: (H, W) or (1, H, W) uint8 is required")
    raise InputError(
        f"{type(one).__name__}: a path, a Pillow image, an array or a tensor is required"
    )


def load_run(run_dir: Path, allow_targets: Sequence[str] = ()) -> Classifier:
    """Return the model of a run's best checkpoint in float32, ready to predict.

    Args:
        run_dir: the run's directory.
        allow_targets: overrides that open a package of one's own.

    Raises:
        ConfigError: an override is wrong.
        InputError: the run's directory or its checkpoint cannot be read.
        UntrustedError: the run names code that is neither the lab's nor opened.
    """
    config = stored_config(run_dir, allow_targets)
    model = load_model(run_dir, config.model._target_).float().eval()
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise InputError(f"{run_dir}: has diverged: its weights are no numbers")
    return model


def recognize(
    model: Classifier, pixels: Iterable[NDArray[np.uint8]], names: Sequence[str]
) -> list[Prediction]:
    """Return what a model says about MNIST images.

    Args:
        model: the model; whether it is in training mode is left as it was.
        pixels: ``(28, 28) uint8`` each.
        names: what to call each.
    """
    images = np.stack([*pixels, np.zeros((SIDE, SIDE), np.uint8)])[:-1, None]  # none is a batch too
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(images[start : start + _BATCH]).to(model.device)).softmax(dim=1)
            for start in range(0, len(images), _BATCH)
        ]
    model.train(was_training)
    probabilities = torch.cat(parts).cpu().tolist() if parts else []
    return [
        _prediction(name, image[0], tuple(row))
        for name, image, row in zip(names, images, probabilities, strict=True)
    ]


def _prediction(
    name: str, pixels: NDArray[np.uint8], probabilities: tuple[float, ...]
) -> Prediction:
    if not pixels.any():
        return Prediction(name, None, 0.0, None, 0.0, _EMPTY, (), pixels)
    second, first = np.argsort(probabilities, kind="stable")[-2:].tolist()
    top = probabilities[first]
    note = "" if top >= SURE else "unsure"
    return Prediction(name, first, top, second, probabilities[second], note, probabilities, pixels)
