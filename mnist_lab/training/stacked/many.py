"""Training of many models in one call, side by side where they fit together."""

import copy
import time
from collections.abc import Hashable, Sequence
from typing import Any

from torch import nn

from mnist_lab.data import MNISTDataModule
from mnist_lab.models import Classifier
from mnist_lab.training.fit import default_trainer, fit_metrics, train
from mnist_lab.training.silenced_warnings import ignore_noise
from mnist_lab.training.stacked.data import Stream
from mnist_lab.training.stacked.fit import (
    evaluate,
    fit,
    max_stack,
    reason_trainer_is_not_stacked,
)
from mnist_lab.training.stacked.module import Stack
from mnist_lab.training.stacked.network import reason_not_stacked


def train_many(
    models: Sequence[Classifier],
    datamodule: MNISTDataModule | None = None,
    seeds: Sequence[int] | None = None,
    **trainer_options: Any,
) -> list[dict[str, float]]:
    """Fit many models on the same data, and validate and test each.

    Models whose networks have the same layers and whose optimizers have the same name are trained
    as one stack; learning rates, schedules, dropout and the like may differ. Weights are those that
    each would have alone, dropout apart. What cannot be stacked, such as a CNN, is trained one
    after the other. No checkpoint is kept, and so the last weights are tested.

    Args:
        models: the models; afterwards they hold the weights that were tested.
        datamodule: the data; None is ``MNISTDataModule()``.
        seeds: for each model the ``seed`` of its data module, which draws the order of images and
            their augmentation; None is the data module's for all.
        trainer_options: arguments of ``lightning.Trainer``, such as ``max_epochs=3``.

    Returns:
        For each model what ``train`` returns; ``time/fit`` is its share of a stack's seconds.

    Raises:
        ConfigError: an optimizer or a schedule cannot be built.
        ValueError: there are not as many seeds as models.
    """
    ignore_noise()
    datamodule = datamodule if datamodule is not None else MNISTDataModule()
    streams = [(seed, datamodule.fold) for seed in seeds or [datamodule.seed] * len(models)]
    if len(streams) != len(models):
        raise ValueError(f"seeds: must be {len(models)}, one for each model")
    options = {"enable_progress_bar": False, **trainer_options}
    results: dict[int, dict[str, float]] = {}
    for group in _groups(models, options):
        if len(group) == 1:
            (place,) = group
            alone = _with_seed(datamodule, streams[place])
            results[place] = train(models[place], alone, **options)
            continue
        members = [models[place] for place in group]
        found = _train_stack(members, datamodule, [streams[place] for place in group], options)
        results |= dict(zip(group, found, strict=True))
    return [results[place] for place in range(len(models))]


def _groups(models: Sequence[Classifier], options: dict[str, Any]) -> list[list[int]]:
    """Return the places of the models of each stack; what is trained alone is a group of one."""
    groups: dict[Hashable, list[int]] = {}
    for place, model in enumerate(models):
        key: Hashable = place
        if reason_not_stacked(model) is None:
            layers = [layer for layer in model.net.children() if not isinstance(layer, nn.Dropout)]
            key = (*map(str, layers), model.optimizer_settings["name"])
        groups.setdefault(key, []).append(place)
    stacks: list[list[int]] = []
    for group in groups.values():
        model, size = models[group[0]], 1
        if len(group) > 1 and not reason_trainer_is_not_stacked(default_trainer(model, **options)):
            size = max_stack(model)
        stacks += [group[start : start + size] for start in range(0, len(group), size)]
    return stacks


def _train_stack(
    models: Sequence[Classifier],
    datamodule: MNISTDataModule,
    streams: Sequence[Stream],
    options: dict[str, Any],
) -> list[dict[str, float]]:
    """Train models as one stack and return the metrics of each."""
    trainer = default_trainer(models[0], **options)
    stack = Stack(models, streams)
    logged: dict[int, dict[str, float]] = {}

    def keep(_: int, metrics: dict[int, dict[str, float]]) -> tuple[()]:
        logged.update(metrics)
        return ()

    start = time.perf_counter()
    fit(stack, datamodule, trainer, on_epoch_end=keep)
    seconds = (time.perf_counter() - start) / len(models)
    for place in range(len(models)):
        stack.unstack(place)  # writes the weights into the model
    tested = evaluate(stack, datamodule, default_trainer(models[0], **options))
    epochs, steps = trainer.current_epoch, trainer.global_step
    return [
        fit_metrics(model, epochs, steps, seconds, logged.get(place, {})) | tested[place]
        for place, model in enumerate(models)
    ]


def _with_seed(datamodule: MNISTDataModule, stream: Stream) -> MNISTDataModule:
    """Return a data module of the same images in the order of another seed."""
    alone = copy.copy(datamodule)
    alone.seed = stream[0]
    return alone
