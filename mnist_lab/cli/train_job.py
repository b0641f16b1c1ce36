"""One run of ``mnist-lab train``, or a sweep's job, as Hydra calls it."""

import logging
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config.allowlist import check_roles, is_the_labs
from mnist_lab.config.messages import explain
from mnist_lab.config.overrides import given_overrides
from mnist_lab.errors import ConfigError, LabError, first_line
from mnist_lab.training.observer import current_observer

_OF_CLASSIFIERS = {"optimizer", "scheduler"}  # groups
_log = logging.getLogger(__name__)


class Job:
    """What Hydra calls for each run; it keeps all errors, since Hydra tells of the first only.

    Args:
        allowed: the targets that the command line opened.
    """

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = allowed
        self.failures: list[tuple[str, Exception]] = []
        self.has_started = False
        self.has_diverged = False

    def __call__(self, config: DictConfig) -> float | None:
        """Train, and keep the error if there is one.

        Raises:
            Exception: what the run raised, except for a single run's error that a user can mend:
                Hydra would print a line of its own besides ours.
        """
        self.has_started = True
        hydra: Any = HydraConfig.get()
        is_single = hydra.mode == RunMode.RUN
        try:
            unread = " ".join(_unread(config, given_overrides(hydra)))
            OmegaConf.resolve(config)  # once, so that what is checked is what is built
            with without_collector():
                from mnist_lab.cli.run_result import print_result
                from mnist_lab.models import Classifier
                from mnist_lab.training.checkpoints.longer_run import go_further
                from mnist_lab.training.run import run

            check_roles(OmegaConf.to_container(config), self.allowed)
            if unread and not issubclass(pkgutil.resolve_name(config.model._target_), Classifier):
                target = config.model._target_
                _log.warning("%s: not used by %s, which is no Classifier", unread, target)
            if is_single:
                go_further(config)
            result = run(config)
            print_result(result)
            self.has_diverged |= bool(result.diverged)
            return result.value
        except Exception as raised:
            error = _mendable(raised, is_own_code=bool(self.allowed))
            if current_observer() is not None:  # the trial's record has it
                raise error from (None if error is raised else raised)
            if not is_single:
                name = f"job {hydra.job.num} ({' '.join(given_overrides(hydra))})"
                _log.error("%s: %s", name, error, exc_info=not isinstance(error, LabError))
                self.failures.append((name, error))
                raise
            if not isinstance(error, LabError):
                raise
            self.failures.append(("", error))
            return None

    def result(self) -> int:
        """Return 0 if every job went well, 1 if not or if one diverged; print a sweep's failures.

        Raises:
            LabError: the only job failed.
        """
        for name, error in self.failures:
            if not name:
                raise error
            summary = f"{type(error).__name__}: {first_line(error)}"
            print(f"mnist-lab train: {name}: {summary}", file=sys.stderr)
        return 1 if self.failures or self.has_diverged else 0


def _unread(config: DictConfig, typed: Iterable[str]) -> list[str]:
    """Return the typed settings of an optimizer or schedule that only a ``Classifier`` reads.

    Args:
        config: the config, with its interpolations.
        typed: the overrides that it was composed with.
    """
    if is_the_labs(config.model._target_):
        return []
    groups = {text: text.lstrip("+~").partition("=")[0].partition(".")[0] for text in typed}
    others = [str(name) for name in config if name not in _OF_CLASSIFIERS]
    read = OmegaConf.to_yaml(OmegaConf.masked_copy(config, others))
    return [
        text
        for text, group in groups.items()
        if group in _OF_CLASSIFIERS and f"${{{group}" not in read
    ]


def _mendable(error: Exception, is_own_code: bool) -> Exception:
    """Return the error of ours that Hydra wrapped, or one line for arguments that do not fit.

    An error of the user's own classes stays as it is, as its traceback is worth having.
    """
    if not isinstance(error, InstantiationException):
        return error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LabError):
            return cause
        if isinstance(cause, ImportError):
            return ConfigError(explain(error))
        cause = cause.__cause__
    if not is_own_code:
        return ConfigError(explain(error))
    if _is_of_the_call(error):
        return ConfigError(f"{explain(error)}; a YAML file of its own has the arguments it takes")
    return error


def _is_of_the_call(error: InstantiationException) -> bool:
    """Return whether a class was not reached, as it does not take the arguments it is given."""
    cause = error.__cause__
    if not isinstance(cause, TypeError):
        return False
    *_, (frame, _) = traceback.walk_tb(cause.__traceback__)
    return str(frame.f_globals["__name__"]).startswith("hydra.")
