"""Format of what the lab logs, to the terminal and to ``train.log``."""

import logging
from typing import Any

from mnist_lab.errors import printable


class Formatter(logging.Formatter):
    """The time and the message, of which no character commands a terminal."""

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, *more: Any) -> None:
        super().__init__(fmt or "[%(asctime)s] %(message)s", datefmt or "%H:%M:%S", *more)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, line by line as it only shows."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def log_messages() -> None:
    """Log messages alone, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler])


def files_logged_to() -> list[logging.FileHandler]:
    """Return the handlers of files, as Hydra opens ``train.log`` for a run."""
    root = logging.getLogger().handlers
    return [handler for handler in root if isinstance(handler, logging.FileHandler)]


def log_to_file(*lines: str) -> None:
    """Add to the run's file what is printed to the terminal without the logger."""
    for line in lines:
        record = logging.LogRecord("mnist_lab", logging.INFO, __file__, 0, line, (), None)
        for file in files_logged_to():
            file.handle(record)
