"""The augmentation that a config lists: the lab's own, torchvision's, and one's own modules.

Whatever a change draws is determined by the generator of its batch: by seed, epoch and position.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mnist_lab.data import augment as augments
from mnist_lab.data.sets import AUGMENTS
from mnist_lab.errors import ConfigError, first_line

Batch = tuple[Tensor, Tensor]
_Change = Callable[[Tensor, Generator], Tensor] | nn.Module
_RANGES: dict[str, tuple[float, float]] = {
    **{"degrees": (0, 180), "shift": (0, 1), "zoom": (0, 0.9), "shear": (0, 1)},
    **{"alpha": (0, 1_000), "sigma": (0.1, 100), "padding": (0, 28), "size": (1, 28)},
}
_MIXUP_ALPHA = 0.2  # Zhang et al., 2018: 0.1 to 0.4


class Augmentation:
    """Changes whole batches by each of a list of changes, one after the other.

    The lab's own are batched. A transform of torchvision gets one image ``(1, 28, 28)`` at a time,
    as it draws once a call; MixUp and CutMix, and modules of other kinds, get the whole batch.

    Args:
        changes: names of ``AUGMENTS``, mappings of a ``name`` and its arguments, or modules.

    Raises:
        ConfigError: there is no such change, or it does not take its arguments or images.
    """

    def __init__(self, changes: Any) -> None:
        is_list = isinstance(changes, Sequence) and not isinstance(changes, str)
        parts = list(changes) if is_list else [changes]
        keys = [f"data.augment.{at}" if is_list else "data.augment" for at in range(len(parts))]
        self._changes: list[tuple[str, _Change]] = [
            (key, _change(key, part)) for key, part in zip(keys, parts, strict=True)
        ]
        if any(isinstance(change, nn.Module) for _, change in self._changes):
            blank = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
            self(blank, torch.zeros(2, dtype=torch.long), Generator().manual_seed(0), 2)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: Generator, num_classes: int
    ) -> Batch:
        """Return a batch as it is trained on.

        Args:
            images: ``(B, 1, 28, 28)`` uint8.
            labels: ``(B,)`` int64.
            generator: the CPU generator of this batch.
            num_classes: number of classes.

        Returns:
            Images of the same shape, and labels; these are ``(B, num_classes)`` probabilities where
            images were mixed.

        Raises:
            ConfigError: a module does not take the images, or a change gives others than images.
        """
        for key, change in self._changes:
            shape = images.shape
            if isinstance(change, nn.Module):
                images, labels = _by_module(key, change, (images, labels), generator, num_classes)
            else:
                images = change(images, generator)
            found = images.shape if isinstance(images, Tensor) else type(images).__name__
            if found != shape:
                raise ConfigError(
                    f"{key}={_name(change)}: must give images {tuple(shape)}; found "
                    f"{tuple(found) if isinstance(images, Tensor) else found}"
                )
        return images, labels


def _change(key: str, part: Any) -> _Change:
    """Return the change that an entry of the list names."""
    if isinstance(part, nn.Module):
        return part
    arguments = dict(part) if isinstance(part, Mapping) else {"name": part}
    name = arguments.pop("name", None)
    if name not in AUGMENTS:
        raise ConfigError(
            f"{key}={part}: must be {', '.join(AUGMENTS)}, a mapping of such a name and its "
            "arguments, or a node with a _target_"
        )
    function = getattr(augments, name, None)  # none of mixup
    taken = [*inspect.signature(function).parameters][2:] if function else ["alpha"]
    for argument, value in arguments.items():
        if argument not in taken:
            raise ConfigError(f"{key}.{argument}: not taken by {name}; it takes {', '.join(taken)}")
        low, high = _RANGES[argument]
        is_number = isinstance(value, int if argument in ("padding", "size") else int | float)
        if not is_number or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{key}.{argument}={value}: must be from {low:,} to {high:,}")
    if function is None:
        from torchvision.transforms.v2 import MixUp  # imports torchvision, which takes a second

        return MixUp(**{"alpha": _MIXUP_ALPHA, **arguments})  # type: ignore[no-any-return]
    return functools.partial(function, **arguments)


@contextlib.contextmanager
def seeded_by(generator: Generator, device: torch.device) -> Iterator[None]:
    """Have torch's own generators draw from a seed that another one draws, and put them back."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cpu":  # torch.manual_seed takes 0.4 ms where there is no GPU
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


def _by_module(
    key: str, module: nn.Module, batch: Batch, generator: Generator, num_classes: int
) -> Batch:
    """Return a batch as a module changes it, which draws from torch's own generators."""
    from torchvision.transforms import v2

    images, labels = batch
    with seeded_by(generator, images.device), torch.no_grad():
        module = module.to(images.device)
        try:
            if isinstance(module, v2.MixUp | v2.CutMix):
                return _mixed(module, images, labels, num_classes)
            if isinstance(module, v2.Transform):
                return torch.stack([module(image) for image in images]), labels
            return module(images), labels
        except (RuntimeError, TypeError, ValueError) as error:
            kind = str(images.dtype).removeprefix("torch.")
            raise ConfigError(
                f"{key}={_name(module)}: does not take {kind} images: {first_line(error)}"
            ) from error


def _mixed(module: nn.Module, images: Tensor, labels: Tensor, num_classes: int) -> Batch:
    """Mix a batch, whose whole numbers are kept to."""
    if labels.ndim == 1:
        labels = F.one_hot(labels, num_classes).float()
    mixed, labels = module(images.float(), labels)
    return (mixed.round() if images.dtype == torch.uint8 else mixed).to(images.dtype), labels


def _name(change: Any) -> str:
    return str(getattr(getattr(change, "func", None), "__name__", type(change).__name__))
