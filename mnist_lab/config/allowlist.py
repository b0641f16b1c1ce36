"""Decides which objects a config may have built: by the package and by the role of their class.

May the package be imported, and is the class a subclass of what its place in the config asks for?
The first question is answered before anything is imported; the second of the class that a dotted
name leads to, whatever the name says. A config that came with a directory is held to more: it has
only what the lab ships, and those of Lightning's callbacks and loggers that write nowhere else than
in folders which the lab sets.
"""

import contextlib
import functools
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mnist_lab.errors import ConfigError, UntrustedError, first_line

VARIABLE = "MNIST_LAB_ALLOW"  # packages of the user's own, as in allow_targets, with commas between
_PACKAGES = ("lightning", "mnist_lab", "torch", "torchmetrics", "torchvision")
_HYDRAS_PACKAGES = ("hydra", "hydra_plugins")
_CALL_KEYS = ("_partial_", "_args_")  # with which Hydra calls a target otherwise than the lab does
_OPTIMIZER = "torch.optim.Optimizer"
_SCHEDULER = "torch.optim.lr_scheduler.LRScheduler"
_MODELS = r"mnist_lab\.models\.([a-z_0-9]+\.)*[A-Z]\w*"
_DATA = r"mnist_lab\.data\.([a-z_0-9]+\.)*[A-Z]\w*"
_OPTIMIZERS = r"torch\.optim\.[A-Z]\w*|mnist_lab\.models\.([a-z_0-9]+\.)*[A-Z]\w*"
_SCHEDULERS = r"torch\.optim\.lr_scheduler\.[A-Z]\w*"
_AUGMENTS = r"torchvision\.transforms\.v2\.[A-Z]\w*"
_NETS = r"(torch\.nn|torchvision\.models)\.[A-Z]\w*"
_TRAINER = r"lightning\.Trainer"
_CALLBACKS = (
    r"mnist_lab\.callbacks\.([a-z_0-9]+\.)*[A-Z]\w*|mnist_lab\.training\.(Checkpoint|Phases)"
    r"|lightning\.pytorch\.callbacks\.(DeviceStatsMonitor|EMAWeightAveraging|EarlyStopping"
    r"|GradientAccumulationScheduler|LearningRateMonitor|ModelCheckpoint|(Rich)?ModelSummary"
    r"|(Rich|TQDM)ProgressBar|StochasticWeightAveraging|Timer|WeightAveraging)"
)
EXTRAS = {
    "mnist_lab.training.loggers.mlflow.MLflow": "mlflow",
    "mnist_lab.training.loggers.wandb.Wandb": "wandb",
}
"""Loggers that send elsewhere, each by a package that is an extra of the same name."""
TENSORBOARD = "mnist_lab.training.loggers.tensorboard.TensorBoard"
_LIGHTNINGS = r"lightning\.pytorch\.loggers\.(CSVLogger|TensorBoardLogger)"
_LOGGERS = "|".join([_LIGHTNINGS, re.escape(TENSORBOARD), *EXTRAS])
_METRICS = r"torchmetrics\.classification\.([a-z_0-9]+\.)*[A-Z]\w*"
_NOTHING = r"(?!)"
_PLUGINS = tuple(
    f"lightning.pytorch.plugins.{name}"
    for name in ("Precision", "CheckpointIO", "environments.ClusterEnvironment", "LayerSync")
)
_PARTS = ("torch.nn.Module", "torch.utils.data.Dataset", "torchmetrics.Metric")


def check_targets(plain: Any, allowed: Sequence[str], *, is_typed: bool = True) -> None:
    """Refuse objects of packages that may not be imported, without importing any.

    Args:
        plain: a resolved config, or a part of one, as builtins.
        allowed: names of packages, modules and classes that the command line opened.
        is_typed: whether the config was typed, and did not come with a directory.

    Raises:
        UntrustedError: there is such an object, or one in a place for none.
    """
    for key, target, node in find(plain, "_target_"):
        roles, ships = _place(key)
        if target == "???":  # of a sweep whose trials name it, or refused as not set
            continue
        if not isinstance(target, str):
            raise UntrustedError(f"{key}={target}: must be the dotted name of a class")
        if not roles:
            raise UntrustedError(f"{key}={target}: nothing is built in this place")
        if _is_opened(target, allowed):
            continue
        is_known = is_shipped_package(target) if is_typed else re.fullmatch(ships, target)
        if not is_known:
            raise _refusal(key, target)
        # A module of one's own may take what it calls itself, such as an optimizer with weights.
        taken = {"_partial_"} if key.startswith("model.") and _OPTIMIZER in roles else set()
        if found := [name for name in _CALL_KEYS if name in node.keys() - taken]:
            raise UntrustedError(
                f"{key.removesuffix('_target_')}{found[0]}: not taken with what mnist_lab ships; "
                "give its numbers, from which your own class builds it"
            )


def check_roles(plain: Any, allowed: Sequence[str], *, only_foreign: bool = False) -> None:
    """Import the classes of a config that passed ``check_targets``, and check what they are.

    Args:
        plain: the config, as builtins.
        allowed: as in ``check_targets``.
        only_foreign: whether to leave out what the lab ships, which costs no import then.

    Raises:
        ConfigError: there is no such class.
        UntrustedError: it is not of the role that its place asks for.
    """
    for key, target, _ in find(plain, "_target_"):
        roles, ships = _place(key)
        if only_foreign and re.fullmatch(ships, target):
            continue
        classes = tuple(_resolved(key, role) for role in roles)
        found = _resolved(key, target)
        package = getattr(found, "__module__", None) or ""
        is_of_it = package.partition(".")[0] == target.partition(".")[0]
        is_role = isinstance(found, type) and issubclass(found, classes)
        if not is_role or not (is_of_it or _is_opened(target, allowed)):
            names = " or ".join(role.rpartition(".")[2] for role in roles)
            raise UntrustedError(f"{key}={target}: must be a subclass of {names}")


def check_hydra_targets(plain: Any, allowed: Sequence[str]) -> None:
    """Refuse code below the ``hydra`` node, which Hydra would build before any job starts.

    Hydra itself takes only registered plugins as launcher and sweeper.

    Raises:
        UntrustedError: there is such a target.
    """
    for key, target, _ in find(plain, "_target_", "hydra"):
        is_hydras = str(target).partition(".")[0] in _HYDRAS_PACKAGES
        if not isinstance(target, str) or not (is_hydras or _is_opened(target, allowed)):
            raise _refusal(key, target)
        if key not in ("hydra.launcher._target_", "hydra.sweeper._target_"):
            check_roles({"hydra": {"callbacks": {"x": {"_target_": target}}}}, allowed)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Leave the current folder, which may be somebody else's, for the package's own meanwhile.

    A library that torch loads, NVIDIA's cusparselt, takes a ``libcuda.so.1`` from the current one,
    as its RUNPATH has an empty entry.
    """
    here = os.getcwd()
    os.chdir(Path(__file__).parent)
    try:
        yield
    finally:
        os.chdir(here)


def is_shipped_package(target: Any) -> bool:
    """Return whether a target is of a package that may be imported without being opened."""
    return str(target).partition(".")[0] in _PACKAGES


def is_the_labs(target: Any) -> bool:
    """Return whether a target is of the lab's own package, whose arguments are known."""
    return str(target).startswith("mnist_lab.")


def _place(key: str) -> tuple[tuple[str, ...], str]:
    """Return which classes a place takes, and a pattern of those that a directory may name."""
    match key.split(".")[:-1]:
        case ["model"]:
            return ("lightning.LightningModule",), _MODELS
        case ["data", "augment", *_]:
            return ("torch.nn.Module",), _AUGMENTS
        case ["data"]:
            return ("lightning.LightningDataModule",), _DATA
        case ["optimizer"]:
            return (_OPTIMIZER,), _OPTIMIZERS
        case ["scheduler"]:
            return (_SCHEDULER,), _SCHEDULERS
        case ["model", "net", *_]:
            return ("torch.nn.Module",), _NETS
        case ["trainer"]:
            return ("lightning.Trainer",), _TRAINER
        case ["callbacks", _] | ["trainer", "callbacks", _]:
            return ("lightning.Callback",), _CALLBACKS
        case ["logger", _] | ["trainer", "logger"] | ["trainer", "logger", _]:
            return ("lightning.pytorch.loggers.Logger",), _LOGGERS
        case ["metrics", _]:
            return ("torchmetrics.Metric",), _METRICS
        case ["trainer", "profiler"]:
            return ("lightning.pytorch.profilers.Profiler",), _NOTHING
        case ["trainer", "strategy"]:
            return ("lightning.pytorch.strategies.Strategy",), _NOTHING
        case ["trainer", "plugins", *_] | ["trainer", "strategy", _]:
            return _PLUGINS, _NOTHING
        case ["hydra", "callbacks", _]:
            return ("hydra.experimental.callback.Callback",), _NOTHING
        case ["model", *_]:
            return (*_PARTS, _OPTIMIZER, _SCHEDULER), f"{_OPTIMIZERS}|{_SCHEDULERS}"
        case ["data" | "callbacks" | "logger" | "metrics", *_]:
            return _PARTS, _NOTHING
    return (), _NOTHING


def _resolved(key: str, target: str) -> Any:
    try:
        return _shipped(target) if is_shipped_package(target) else pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        package = target.partition(".")[0]
        line = f"{key}={target}: cannot be imported: {first_line(error)}"
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            line += f"; put the folder of {package} on PYTHONPATH, export PYTHONPATH=."
        raise ConfigError(line) from error


@functools.cache
def _shipped(target: str) -> Any:
    with importing():
        return pkgutil.resolve_name(target)


def _is_opened(target: str, allowed: Sequence[str]) -> bool:
    opened = [*allowed, *filter(None, os.environ.get(VARIABLE, "").split(","))]
    names = [name.strip().rstrip(".") for name in opened]
    return any(target == name or target.startswith(f"{name}.") for name in names)


def _refusal(key: str, target: Any) -> UntrustedError:
    package = target.partition(".")[0] if isinstance(target, str) else ""
    is_own = package.isidentifier() and package not in {*_PACKAGES, *sys.stdlib_module_names}
    own = package if is_own else "my_package"
    return UntrustedError(
        f"{key}={target}: not a target that mnist_lab ships; if the code is yours, open it on the "
        f"command line: allow_targets=[{own}.]"
    )


def find(node: Any, name: str, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the values of a name with their keys, and the mappings that they are in."""
    if isinstance(node, dict):
        items: Any = node.items()
    else:
        items = enumerate(node) if isinstance(node, list) else ()
    for part, value in items:
        path = f"{key}.{part}" if key else str(part)
        if part == name:
            yield path, value, node
        yield from find(value, name, path)
