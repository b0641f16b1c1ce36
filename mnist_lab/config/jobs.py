"""Runs a composed config as one job or as a sweep, where ``hydra.main`` would compose it again."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.errors import InstantiationException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from mnist_lab.config import hydra_internals
from mnist_lab.config.compose import Loader
from mnist_lab.config.messages import explain
from mnist_lab.config.overrides import given_overrides
from mnist_lab.config.sources import PRIMARY
from mnist_lab.errors import ConfigError


def run(loader: Loader, config: DictConfig, task: Callable[[DictConfig], Any]) -> Any:
    """Run one job with a composed config, as ``hydra.main`` does with one that it composes."""
    context = hydra_internals.job_context(loader, config)
    context.callbacks.on_run_start(config=config, config_name=PRIMARY)
    job = run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    context.callbacks.on_run_end(config=config, config_name=PRIMARY, job_return=job)
    return job.return_value  # raises what the task raised


def sweep(
    loader: Loader,
    config: DictConfig,
    task: Callable[[DictConfig], Any],
    sweeper: Sweeper | None = None,
    claim: contextlib.AbstractContextManager[None] | None = None,
) -> Any:
    """Run a sweep with a composed config by a sweeper; None has Hydra build the chosen one.

    The claim, of the sweep's directory, is entered once the sweeper has taken its settings.
    """
    hydra_internals.configure_log(config)
    context = hydra_internals.job_context(loader, config)
    if sweeper is None:
        with arguments_taken():
            sweeper = Plugins.instance().instantiate_sweeper(
                config=config, hydra_context=context, task_function=task
            )
    else:
        sweeper.setup(config=config, hydra_context=context, task_function=task)
    with claim or contextlib.nullcontext():
        context.callbacks.on_multirun_start(config=config, config_name=PRIMARY)
        result = sweeper.sweep(given_overrides(config.hydra))
        context.callbacks.on_multirun_end(config=config, config_name=PRIMARY)
    return result


@contextlib.contextmanager
def arguments_taken() -> Iterator[None]:
    """Re-raise what a plugin of Hydra's says of its settings as a line.

    Raises:
        ConfigError: it does not take one.
    """
    try:
        with hydra_internals.wrapped_errors():
            yield
    except InstantiationException as error:
        raise ConfigError(explain(error)) from error
