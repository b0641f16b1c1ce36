"""The schemas agree with the classes that they are for, in names and in defaults."""

import inspect
from dataclasses import fields
from typing import Any

import lightning as L
import pytest
import torch
from hydra.utils import get_class
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    StochasticWeightAveraging,
)
from omegaconf import MISSING
from torch.optim import lr_scheduler as schedules

from mnist_lab.config import callback_schema, optimizer_schema
from mnist_lab.config.knob import check_knob, default_of, requirement
from mnist_lab.config.metrics import METRICS
from mnist_lab.config.schema import SCHEMAS
from mnist_lab.config.trainer_schema import PRECISIONS, Trainer
from mnist_lab.models import arguments
from mnist_lab.models.classifier import Classifier
from mnist_lab.training import Checkpoint
from mnist_lab.training.loggers import hparams

SHARED = {
    name: parameter
    for name, parameter in inspect.signature(Classifier.__init__).parameters.items()
    if name not in ("self", "optimizer", "scheduler")  # the latter are groups
}


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(function).parameters)
    if "shared" in found:
        found |= SHARED
    return {name: one for name, one in found.items() if name not in ("self", "shared")}


def knobs(schema: Any) -> dict[str, Any]:
    return {knob.name: default_of(knob) for knob in fields(schema) if knob.metadata}


def same(value: Any, default: Any) -> bool:
    if value is None or default is None:
        return value is default
    if isinstance(value, list) or isinstance(default, list | tuple):
        return list(value) == list(default)
    return bool(value == default)


@pytest.mark.parametrize("schema", [*SCHEMAS["model"].values(), *SCHEMAS["data"].values()])
def test_lab_classes(schema: Any) -> None:
    """The lab's own classes have the same arguments and the same defaults."""
    taken = parameters(get_class(schema._target_).__init__)
    assert knobs(schema).keys() == taken.keys()
    different = {
        name for name, value in knobs(schema).items() if not same(value, taken[name].default)
    }
    # Those that follow seed and the data, and a user's own class, which has no default.
    assert different <= {"seed", "num_classes", "in_shape", "net", "val_size", "split_seed"}


@pytest.mark.parametrize(
    ("schema", "target"),
    [
        (optimizer_schema.Adam, torch.optim.Adam),
        (optimizer_schema.AdamW, torch.optim.AdamW),
        (optimizer_schema.SGD, torch.optim.SGD),
        (optimizer_schema.Cosine, schedules.CosineAnnealingLR),
        (optimizer_schema.OneCycle, schedules.OneCycleLR),
        (optimizer_schema.Exponential, schedules.ExponentialLR),
        (optimizer_schema.Plateau, schedules.ReduceLROnPlateau),
        (callback_schema.Checkpoint, Checkpoint),
        (callback_schema.EarlyStopping, EarlyStopping),
        (callback_schema.MovingAverage, EMAWeightAveraging),
        (callback_schema.WeightMean, StochasticWeightAveraging),
    ],
)
def test_library_classes(schema: Any, target: Any) -> None:
    """Every knob is an argument, and where a default differs it is said here."""
    taken = parameters(target.__init__)
    assert knobs(schema).keys() <= taken.keys()
    different = {
        name
        for name, value in knobs(schema).items()
        if taken[name].default is not inspect.Parameter.empty
        and not same(value, taken[name].default)
    }
    ours = {
        optimizer_schema.SGD: {"lr"},  # torch's 1e-3 suits plain SGD on MNIST badly
        optimizer_schema.Plateau: {"patience"},
        callback_schema.Checkpoint: {"monitor", "mode"},  # follow monitor and mode
        callback_schema.EarlyStopping: {"mode"},
        callback_schema.WeightMean: {"device"},  # the same one as a text
    }
    assert different == ours.get(schema, set())


def test_callbacks_miss_no_argument() -> None:
    assert parameters(Checkpoint.__init__).keys() == knobs(callback_schema.Checkpoint).keys()
    for schema in (
        callback_schema.EarlyStopping,
        callback_schema.MovingAverage,
        callback_schema.WeightMean,
    ):
        taken = parameters(get_class(schema._target_).__init__).keys()
        assert taken - {"avg_fn", "kwargs"} == knobs(schema).keys()  # which take functions


def test_trainer() -> None:
    """The trainer's knobs are all of Lightning's; one that is null leaves Lightning's default."""
    taken = parameters(L.Trainer.__init__)
    ours = knobs(Trainer)
    assert ours.keys() == taken.keys()
    set_here = {name for name, value in ours.items() if value is not None}
    assert set_here <= {"precision", "default_root_dir", "check_val_every_n_epoch"}


def test_names_agree_with_the_models() -> None:
    assert {*arguments.OPTIMIZERS, "own"} == SCHEMAS["optimizer"].keys()
    assert {*arguments.SCHEDULERS, "own"} == SCHEMAS["scheduler"].keys()
    assert set(METRICS) >= {name for name in hparams.METRICS if name.startswith("val/")}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true", "bf16-true", "32"])
def test_lightning_takes_the_precisions(precision: str) -> None:
    assert precision in PRECISIONS
    L.Trainer(precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False)


ALL = [(group, name) for group, group_schemas in SCHEMAS.items() for name in group_schemas]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_defaults_are_in_range_and_explained(group: str, name: str) -> None:
    schema = SCHEMAS[group][name]
    for knob in fields(schema):
        value = default_of(knob)
        if not knob.metadata or (isinstance(value, str) and value.startswith(("${", MISSING))):
            continue
        check_knob(knob.name, knob, knobs(schema))
        assert knob.metadata["knob"].text
        assert requirement(knob)
