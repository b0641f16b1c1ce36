"""Reading the arguments of a verb."""

import argparse
from typing import NoReturn

from mnist_lab.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with the usage.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; {self.prog} --help says more")
