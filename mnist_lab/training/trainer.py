"""Builds the model of a run, and its trainer with callbacks and loggers."""

import inspect
import io
import os
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    LearningRateFinder,
    ModelPruning,
    ModelSummary,
    ProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config import trainer_schema
from mnist_lab.config.allowlist import check_roles, is_the_labs
from mnist_lab.config.hydra_internals import build
from mnist_lab.config.paths import check_utf8
from mnist_lab.config.portable_bits import PORTABLE
from mnist_lab.errors import ConfigError, first_line
from mnist_lab.files.tensorboard import do_without_tensorflow
from mnist_lab.models import Classifier
from mnist_lab.models.metric_callback import Metrics
from mnist_lab.models.named import takes
from mnist_lab.training.checkpoints.model_checkpoints import give_folders
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO, is_code
from mnist_lab.training.data_dimensions import NUMBERS
from mnist_lab.training.fine_tuning import freeze
from mnist_lab.training.library_errors import settings_taken
from mnist_lab.training.lightning_internals import leave_out_of_logs, starts_by_copying
from mnist_lab.training.model_summary import Summary
from mnist_lab.training.precision import check_portable, device_type, resolve_precision
from mnist_lab.training.progress import Progress
from mnist_lab.training.silenced_warnings import ignore_noise

_SEARCHES = "changes a setting of which config.yaml says something else; search with a sweep, -m "
_REFUSED: dict[type[L.Callback], str] = {
    BatchSizeFinder: f"{_SEARCHES}data.batch_size=64,256",
    LearningRateFinder: f"{_SEARCHES}optimizer.lr='interval(1e-4,1e-1)'",
    ModelPruning: "gives weights other names, under which no checkpoint can be loaded again",
}


def build_model(config: DictConfig) -> Any:
    """Build the model of a config, with the settings of its optimizer and schedule.

    It is the first that is built of a stack of trials, and so the classes of all are judged here.

    Raises:
        ConfigError: an argument is an object that no checkpoint can hold, or ``freeze`` does not
            fit.
        UntrustedError: a class has not the role that its place in the config asks for.
    """
    check_roles(OmegaConf.to_container(config), config.get("allow_targets") or [])
    ignore_noise()
    built = pkgutil.resolve_name(str(config.model._target_))
    settings: dict[str, Any] = {}
    if issubclass(built, Classifier):  # another module may mean something else by these names
        lacking = [name for name in ("optimizer", "scheduler") if name not in config.model]
        settings = {name: _by_name(config[name]) for name in lacking if takes(built, name)}
    if config.model.get("net") is not None and is_the_labs(config.model._target_):
        settings["_recursive_"] = False  # the class and its arguments, which the checkpoint holds
    node: Any = OmegaConf.to_container(config.model)
    for name in NUMBERS:
        if node.get(name, 0) is None:  # the class's own default
            del node[name]
    model = build(OmegaConf.create(node), **settings)
    _check_arguments(model)
    freeze(model, config.get("freeze") or [])
    return model


def _check_arguments(model: L.LightningModule) -> None:
    """Refuse arguments that the model's checkpoints would keep, and could not be loaded with.

    A module that is no ``Classifier`` is built of its config again, and may be given code, which
    neither checkpoints nor logs keep.
    """
    for name, value in model.hparams.items():
        if _is_builtin(value):
            continue
        if is_code(value) and not isinstance(model, Classifier):
            leave_out_of_logs(model, name)
            continue
        content = io.BytesIO()
        try:
            torch.save(value, content)
            torch.load(io.BytesIO(content.getvalue()), weights_only=True)
        except Exception as error:
            raise ConfigError(
                f"model.{name}: is an object of {type(value).__name__}, which no checkpoint can "
                "hold; take its name or its numbers and build it in the model, or leave it out "
                f"there: save_hyperparameters(ignore=['{name}'])"
            ) from error


def _is_builtin(value: Any) -> bool:
    """Return whether a value is made of what any checkpoint can hold."""
    if type(value) is dict:
        return all(map(_is_builtin, (*value, *value.values())))
    if type(value) in (list, tuple):
        return all(map(_is_builtin, value))
    return value is None or type(value) in (bool, int, float, str)


def _by_name(settings: DictConfig) -> Any:
    """Return an optimizer's or a schedule's settings with the dotted name of a class as name."""
    plain: Any = OmegaConf.to_container(settings)
    if "_target_" in plain:
        plain["name"] = plain.pop("_target_")
    return plain


@settings_taken()
def build_trainer(
    config: DictConfig,
    model: Any,
    validates: bool,
    callbacks: Sequence[L.Callback] = (),
    is_quiet: bool = False,
    tests: bool = True,
) -> L.Trainer:
    """Build the trainer of a config, with its callbacks and loggers.

    Args:
        config: the whole config.
        model: the model, which ``precision=auto`` is resolved for.
        validates: whether there is a validation split to monitor.
        callbacks: finished callbacks, which come before the config's.
        is_quiet: whether progress, summary and images are left out.
        tests: whether the test images may be read.

    Raises:
        ConfigError: Lightning refuses a setting.
    """
    do_without_tensorflow()
    ignore_noise()
    options = _options(config.trainer, is_quiet)
    nodes = _callback_nodes(config, options, validates, is_quiet)
    options["callbacks"] = [
        *callbacks,
        *_metrics(config, model, options),
        *map(build, nodes.values()),
        *_built(options.pop("callbacks", None) or []),
    ]
    shows_model = options.get("enable_model_summary", True) and not options.get("barebones")
    if shows_model and not any(isinstance(own, ModelSummary) for own in options["callbacks"]):
        options["callbacks"].append(Summary())
    bars = [callback for callback in options["callbacks"] if isinstance(callback, ProgressBar)]
    if not bars:
        options.setdefault("enable_progress_bar", False)  # Lightning would add its own
    if len(bars) > 1:  # one of the user's own
        options["callbacks"] = [
            callback for callback in options["callbacks"] if type(callback) is not Progress
        ]
    if options.get("barebones"):
        options["logger"] = False
    elif "logger" not in options:
        options["logger"] = build_loggers(config) or False
    if not any(isinstance(callback, Checkpoint) for callback in options["callbacks"]):
        options["enable_checkpointing"] = False
    storage = AtomicCheckpointIO(Path(config.run_dir))
    options["plugins"] = [storage, *_as_list(options.get("plugins", []))]
    accelerator = options.get("accelerator", "auto")
    options["precision"] = resolve_precision(options["precision"], model, accelerator)
    trainer_class = pkgutil.resolve_name(options.pop("_target_"))
    trainer: L.Trainer = trainer_class(**{name: _built(value) for name, value in options.items()})
    if not tests:
        trainer.limit_test_batches = 0  # here, as fast_dev_run sets it to 1
    _check(trainer)
    if config.get("bits") == PORTABLE:
        check_portable(trainer)
    give_folders(trainer)
    return trainer


def _check(trainer: L.Trainer) -> None:
    """Refuse what cannot be resumed, evaluated or ended as every run is."""
    if starts_by_copying(trainer):
        raise ConfigError(
            "trainer.strategy: starts its processes by copying this one, which holds the run's "
            "directory; take ddp, or torchrun or srun"
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for kind, reason in _REFUSED.items():
            if isinstance(callback, kind):
                raise ConfigError(f"callbacks: {type(callback).__name__} {reason}")


def _metrics(config: DictConfig, model: Any, options: Mapping[str, Any]) -> list[Metrics]:
    """Build the callback of a config's metrics, where there are any to compute."""
    nodes, built = config.get("metrics") or {}, {}
    if not nodes or options.get("barebones"):
        return []
    num_classes = getattr(model, "num_classes", 10)
    for name, node in nodes.items():
        found = pkgutil.resolve_name(node._target_)
        taken = inspect.signature(found).parameters
        known = {"num_classes": num_classes, "task": "multiclass"}
        arguments = {key: known[key] for key in known if key in taken and key not in node}
        try:
            built[str(name)] = build(node, **arguments)
        except InstantiationException as error:
            raise ConfigError(f"metrics.{name}: {first_line(error.__cause__ or error)}") from error
        # A class of torchmetrics chooses the mode where none is typed, and one's own is asked here.
        mode = {True: "max", False: "min", None: config.mode}[built[str(name)].higher_is_better]
        is_own = not node._target_.startswith("torchmetrics.")
        if is_own and config.monitor == f"val/{name}" and config.mode != mode:
            raise ConfigError(f"mode={config.mode}: must be {mode}, as {node._target_} says")
    return [Metrics(built, num_classes)]


def _built(value: Any) -> Any:
    """Return an argument of the trainer with what its nodes name built."""
    if isinstance(value, list):
        return [_built(part) for part in value]
    return build(value) if OmegaConf.is_config(value) else value


def build_loggers(config: DictConfig) -> list[Any]:
    """Build the loggers of a config's group.

    Raises:
        ConfigError: TensorBoard cannot write below a folder of that name.
    """
    loggers = [build(node) for node in (config.logger or {}).values()]
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            place = os.path.abspath(logger.log_dir)
            check_utf8(place, "TensorBoard", "train in another folder, or with logger=csv")
    return loggers


def _options(trainer: DictConfig, is_quiet: bool) -> dict[str, Any]:
    """Return the arguments of ``lightning.Trainer`` that a config sets."""
    unset = {knob.name for knob in fields(trainer_schema.Trainer) if knob.default is None}
    options = {
        str(name): value
        for name, value in trainer.items()
        if value is not None or name not in unset
    }
    if is_quiet:
        options |= {"enable_progress_bar": False, "enable_model_summary": False}
    if "deterministic" not in options and device_type(options.get("accelerator")) == "cuda":
        options["deterministic"] = "warn"
    return options


def _callback_nodes(
    config: DictConfig, options: Mapping[str, Any], validates: bool, is_quiet: bool
) -> dict[str, Any]:
    """Return the nodes of a config's callbacks, without those that this trainer cannot use."""
    nodes = {str(name): node for name, node in (config.callbacks or {}).items()}
    barebones = options.get("barebones", False)
    if is_quiet:
        nodes.pop("pictures", None)  # they take as long as an epoch
    if barebones or options.get("enable_progress_bar") is False:
        nodes.pop("progress", None)
    if barebones or options.get("fast_dev_run") or options.get("enable_checkpointing") is False:
        nodes.pop("checkpoint", None)
    if str(_monitor(nodes, "early_stopping")).startswith("train/"):
        # Lightning would look for it after a validation within the epoch, before it is logged.
        at_epoch_end = {"check_on_train_epoch_end": True}
        nodes["early_stopping"] = OmegaConf.merge(nodes["early_stopping"], at_epoch_end)
    if not validates or options.get("limit_val_batches") == 0:
        if str(_monitor(nodes, "early_stopping")).startswith("val/"):
            del nodes["early_stopping"]
        if str(_monitor(nodes, "checkpoint")).startswith("val/"):  # the last one is the best
            nodes["checkpoint"] = OmegaConf.merge(nodes["checkpoint"], {"monitor": None})
    return nodes


def _monitor(nodes: Mapping[str, Any], name: str) -> Any:
    return nodes[name].get("monitor") if nodes.get(name) is not None else None


def _as_list(value: Any) -> list[Any]:
    return list(value) if OmegaConf.is_list(value) or isinstance(value, list) else [value]


def machine(trainer: L.Trainer) -> dict[str, Any]:
    """Return the settings of a machine that figures depend on besides config, code and versions."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "precision": str(trainer.precision),
        "device": name,
        "world_size": trainer.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
        "openmp_waits": os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT", ""),
    }
