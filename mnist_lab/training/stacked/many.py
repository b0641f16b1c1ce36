"""``train_many``: models given from Python, trained side by side where they fit together."""

import copy
import time
from collections.abc import Hashable, Sequence
from typing import Any, cast

import lightning as L
from torch import nn

from mnist_lab.config.sweep_schema import STACKS
from mnist_lab.data import MNISTDataModule
from mnist_lab.models import Classifier
from mnist_lab.models.layers import one_of
from mnist_lab.training.fit import default_trainer, fit_metrics, train
from mnist_lab.training.silenced_warnings import ignore_noise
from mnist_lab.training.stacked.data import Stream
from mnist_lab.training.stacked.fit import evaluate, fit
from mnist_lab.training.stacked.module import Stack
from mnist_lab.training.stacked.network import (
    EXACT,
    reason_optimizer_is_not_stacked,
    reason_weights_are_not_stacked,
)
from mnist_lab.training.stacked.stackable import stacking

_OWN = {"optimizer", "scheduler", "init", "label_smoothing"}
"""Arguments in which models of one stack may differ."""
_WATCHING = ("callbacks", "logger")  # options for which a stack has no model, no metrics, no rate


def train_many(
    models: Sequence[L.LightningModule],
    datamodule: L.LightningDataModule | None = None,
    seeds: Sequence[int] | None = None,
    stack: str = "auto",
    **trainer_options: Any,
) -> list[dict[str, float]]:
    """Fit many models on the same data, and validate and test each.

    Models whose networks have the same layers and whose optimizers have the same name are trained
    as one stack; learning rates, schedules and the like may differ, and the dropout of MLPs.
    Weights of MLPs and softmax regressions are those that each would have alone, dropout apart;
    those of other models are equal to them up to rounding. What cannot be stacked, or is faster one
    by one, such as most CNNs on a CPU or any model on a data module of one's own, is trained one
    after the other. No checkpoint is kept, and so the last weights are tested.

    Args:
        models: the models, of which those that are no ``Classifier`` are trained one after the
            other; afterwards they hold the weights that were tested.
        datamodule: the data; None is ``MNISTDataModule()``.
        seeds: for each model the ``seed`` of its data module, which draws the order of images and
            their augmentation; None is the data module's for all, as for one without ``seed``.
        stack: ``auto``, ``always`` to stack what is faster one by one, or ``exact`` to stack MLPs
            and softmax regressions alone.
        trainer_options: arguments of ``lightning.Trainer``, such as ``max_epochs=3``. With
            ``callbacks`` or a ``logger`` models are trained one after the other; each has copies of
            the callbacks, and all have the logger.

    Returns:
        For each model what ``train`` returns; ``time/fit`` is its share of a stack's seconds.

    Raises:
        ConfigError: an optimizer or a schedule cannot be built, or ``stack`` is none of the three.
        ValueError: there are not as many seeds as models, or the data module has no ``seed``.
    """
    ignore_noise()
    datamodule = datamodule if datamodule is not None else MNISTDataModule()
    if seeds and len(seeds) != len(models):
        raise ValueError(f"seeds: must be {len(models)}, one for each model")
    if seeds and not hasattr(datamodule, "seed"):
        raise ValueError(
            f"seeds: {type(datamodule).__name__} has none to be set; give it an attribute seed, "
            "by which it draws its order, or leave them out"
        )
    options = {"enable_progress_bar": False, **trainer_options}
    results: dict[int, dict[str, float]] = {}
    one_of("stack", stack, STACKS)
    for group in _groups(models, options, datamodule, stack):
        if len(group) == 1:
            (place,) = group
            alone: Any = copy.copy(datamodule)  # the same images in the order of another seed
            if seeds:
                alone.seed = seeds[place]
            # Each has its own, as they count and stop by themselves.
            callbacks = copy.deepcopy(options.get("callbacks"))
            results[place] = train(models[place], alone, **{**options, "callbacks": callbacks})
            continue
        assert isinstance(datamodule, MNISTDataModule)
        members = cast("list[Classifier]", [models[place] for place in group])
        streams = [(seeds[place] if seeds else datamodule.seed, datamodule.fold) for place in group]
        found = _train_stack(members, datamodule, streams, options)
        results |= dict(zip(group, found, strict=True))
    return [results[place] for place in range(len(models))]


def _groups(
    models: Sequence[L.LightningModule],
    options: dict[str, Any],
    datamodule: L.LightningDataModule,
    stack: str,
) -> list[list[int]]:
    """Return the places of the models of each stack; what is trained alone is a group of one."""
    is_watched = any(options.get(name) for name in _WATCHING)
    # Hooks and images of a subclass of the data module would be passed over in a stack.
    if is_watched or type(datamodule) is not MNISTDataModule:
        return [[place] for place in range(len(models))]
    groups: dict[Hashable, list[int]] = {}
    for place, model in enumerate(models):
        key: Hashable = place
        if isinstance(model, Classifier) and not (
            reason_optimizer_is_not_stacked(model) or reason_weights_are_not_stacked(model)
        ):
            key = _kind(model)
        groups.setdefault(key, []).append(place)
    stacks: list[list[int]] = []
    for group in groups.values():
        size = 1
        if len(group) > 1:
            first: Any = models[group[0]]
            trainer = default_trainer(first, **options)
            _, size = stacking(first, trainer, datamodule.batch_size, stack)
        stacks += [group[start : start + size] for start in range(0, len(group), size)]
    return stacks


def _kind(model: Classifier) -> Hashable:
    """Return what models of one stack have in common."""
    kind = type(model), model.optimizer_settings["name"]
    if type(model) in EXACT:
        layers = [layer for layer in model.net.children() if not isinstance(layer, nn.Dropout)]
        return kind, *map(str, layers)
    arguments = {name: model.hparams[name] for name in model.hparams.keys() - _OWN}
    learns = [parameter.requires_grad for parameter in model.parameters()]
    return kind, str(model), str(sorted(arguments.items())), *learns


def _train_stack(
    models: Sequence[Classifier],
    datamodule: MNISTDataModule,
    streams: Sequence[Stream],
    options: dict[str, Any],
) -> list[dict[str, float]]:
    """Train models as one stack and return the metrics of each."""
    trainer = default_trainer(models[0], **options)
    for model in models:
        trainer.precision_plugin.convert_module(model)
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
    epochs, steps = trainer.current_epoch, trainer.global_step
    if trainer.barebones:
        return [fit_metrics(model, epochs, steps, seconds, {}) for model in models]
    tested = evaluate(stack, datamodule, default_trainer(models[0], **options))
    return [
        fit_metrics(model, epochs, steps, seconds, logged.get(place, {})) | tested[place]
        for place, model in enumerate(models)
    ]
