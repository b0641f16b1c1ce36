"""Configs as a command composes and checks them."""

from omegaconf import DictConfig

from mnist_lab.checks import check
from mnist_lab.config import Loader, resolved


def compose(*overrides: str) -> DictConfig:
    """Return the resolved config of a command line, once it is checked."""
    config = resolved(Loader(overrides).compose(overrides))
    check(config)
    return config
