"""Which code a config may name: a default-deny list, checked before anything is imported."""

from collections.abc import Iterator, Sequence
from typing import Any

from mnist_lab.errors import UntrustedError

TARGETS = {
    "mnist_lab.models.SoftmaxRegression",
    "mnist_lab.models.MLP",
    "mnist_lab.models.CNN",
    "mnist_lab.data.MNISTDataModule",
    "mnist_lab.callbacks.Checkpoint",
    "mnist_lab.callbacks.Progress",
    "mnist_lab.callbacks.Pictures",
    "lightning.Trainer",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.CSVLogger",
} | {
    f"lightning.pytorch.callbacks.{name}"
    for name in (
        "DeviceStatsMonitor",
        "EarlyStopping",
        "GradientAccumulationScheduler",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "StochasticWeightAveraging",
        "Timer",
    )
}
# Whole names, since Hydra follows a dotted name through what a module imports: a prefix such as
# mnist_lab. would open mnist_lab.runs.directory.subprocess.run.
HYDRA_TARGETS = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra.experimental.callbacks.LogJobReturnCallback",
    "hydra.experimental.callbacks.PickleJobInfoCallback",
}
# Hydra itself takes only classes that a plugin has registered for these two.
_PLUGIN_KEYS = ("hydra.launcher._target_", "hydra.sweeper._target_")
_LOG_CLASSES = {
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "logging.handlers.WatchedFileHandler",
    "logging.Formatter",
}
_LOG_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_CALL_KEYS = ("_partial_", "_args_")  # with which Hydra calls a target otherwise than the lab does


def check_targets(plain: Any, allowed: Sequence[str]) -> None:
    """Refuse code that is neither the lab's nor opened by ``allowed``.

    Args:
        plain: a resolved config, or a part of one, as builtins.
        allowed: full names, and prefixes that end with a dot.

    Raises:
        UntrustedError: there is such a target.
    """
    for key, target, node in _targets(plain):
        if _is_allowed(target, allowed):
            continue
        if not (isinstance(target, str) and target in TARGETS):
            raise _refusal(key, target)
        if found := [name for name in _CALL_KEYS if name in node]:
            raise UntrustedError(
                f"{key.removesuffix('_target_')}{found[0]}: not taken with what mnist_lab ships"
            )


def check_hydra_targets(plain: Any, allowed: Sequence[str]) -> None:
    """Refuse code below the ``hydra`` node, which Hydra would build before any job starts.

    Raises:
        UntrustedError: there is such a target, or a log handler of another package.
    """
    for key, target, _ in _targets(plain, "hydra"):
        is_plugin = key in _PLUGIN_KEYS and str(target).startswith("hydra_plugins.")
        is_hydras = isinstance(target, str) and target in HYDRA_TARGETS
        if not (is_hydras or is_plugin or _is_allowed(target, allowed)):
            raise _refusal(key, target)
    for part in ("hydra_logging", "job_logging"):
        _check_logging(plain.get(part), f"hydra.{part}")


def _check_logging(node: Any, key: str) -> None:
    """Refuse what logging.config would import or call: classes, factories, ext:// and queues."""
    for name, value in _items(node):
        path = f"{key}.{name}"
        if isinstance(value, dict | list):
            _check_logging(value, path)
        names_code = name in ("()", ".", "class", "queue", "listener")
        if names_code and not (isinstance(value, str) and value in _LOG_CLASSES):
            raise UntrustedError(f"{path}={value}: log classes must be of the standard logging")
        if "://" in str(value) and isinstance(value, str) and value not in _LOG_STREAMS:
            raise UntrustedError(f"{path}={value}: must be one of {', '.join(_LOG_STREAMS)}")


def _refusal(key: str, target: Any) -> UntrustedError:
    return UntrustedError(
        f"{key}={target}: not a target that mnist_lab ships; if the code is yours, open it on the "
        "command line: allow_targets=[my_package.]"
    )


def _is_allowed(target: Any, allowed: Sequence[str]) -> bool:
    name = str(target)
    return any(name == one or (one.endswith(".") and name.startswith(one)) for one in allowed)


def is_the_labs(target: Any) -> bool:
    """Return whether a target is of the lab's own package, whose arguments are known."""
    return str(target).startswith("mnist_lab.")


def _targets(node: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    return find(node, "_target_", key)


def find(node: Any, name: str, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the values of a name with their keys, and the mappings that they are in."""
    for part, value in _items(node):
        path = f"{key}.{part}" if key else str(part)
        if part == name:
            yield path, value, node
        yield from find(value, name, path)


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
