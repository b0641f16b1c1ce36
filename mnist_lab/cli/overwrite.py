"""Files that are there already: a verb keeps them unless ``--overwrite`` is given."""

import argparse
from pathlib import Path

from mnist_lab.errors import ConfigError


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def check_may_write(path: Path, may_overwrite: bool) -> None:
    """Check before the work that its result replaces no file that the user has not given up.

    Raises:
        ConfigError: it would.
    """
    if path.is_file() and not may_overwrite:
        raise ConfigError(f"{path}: is there already; --overwrite replaces it")
