"""Reading the arguments of a verb."""

import argparse
from typing import NoReturn

from mnist_lab.config import opened_targets
from mnist_lab.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with the usage.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; {self.prog} --help says more")


def only_targets(overrides: list[str]) -> list[str]:
    """Return what ``allow_targets`` opens, the one override of a verb that takes a run's config.

    Raises:
        ConfigError: there is another override.
    """
    for text in overrides:
        if not text.startswith("allow_targets="):
            raise ConfigError(f"{text}: not taken; a run's own config is used")
    return opened_targets(overrides)
