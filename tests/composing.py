"""Configs as a command composes and checks them."""

from omegaconf import DictConfig

from mnist_lab.config.compose import Loader
from mnist_lab.config.resolve import resolved
from mnist_lab.config.validate import check


def compose(*overrides: str) -> DictConfig:
    """Return the resolved config of a command line, once it is checked."""
    config = resolved(Loader(overrides).compose(overrides))
    check(config)
    return config
