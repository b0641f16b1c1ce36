"""Classes of errors that a user can meet, the exit code of each, and text made safe to print."""

import os
import signal
from collections.abc import Iterator, Sequence


class LabError(ValueError):
    """An error that a user can mend; its message is the one line that is shown."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(LabError):
    """A key, a value or a combination of them is wrong, or the command was used wrongly."""

    exit_code = 2


class InputError(LabError):
    """An input file is missing, corrupt or of another kind."""

    exit_code = 3


class UntrustedError(LabError):
    """A file or a config asks for code that the lab does not ship."""

    exit_code = 4


class StorageError(LabError):
    """The output location is not writable (permissions or disk space)."""

    exit_code = 5


class BusyError(LabError):
    """Another process holds the run."""

    exit_code = 6


class Diverged(LabError):
    """A loss became NaN or infinite."""


class Pruned(Exception):
    """A sweep ends a trial early; the message says at which epoch and value."""


class Paused(Exception):
    """A sweep has a trial wait until others are as far; the message says after which epoch."""


class Stopped(SystemExit):
    """A signal ended a command; the exit code is 128 plus the signal's number.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.name = signal.Signals(signum).name


def printable(text: str | os.PathLike[str]) -> str:
    """Return a text in one line that a terminal only shows, whoever wrote it.

    What is not printable is escaped as in Python: escape sequences, line ends, characters that turn
    the direction of a line, and bytes of a file's name that are no UTF-8.
    """
    text = os.fspath(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else ascii(char)[1:-1].replace("\\udc", "\\x") for char in text
    )


def listed(texts: Sequence[str], most: int, between: str = "; ") -> str:
    """Return the first texts as one, and how many there are more."""
    more = len(texts[most:])
    return between.join(texts[:most]) + (f" and {more} more" if more else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name where it has none."""
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then what it was raised from or while."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """Return in one line why a file cannot be read or written, without its path."""
    return getattr(error, "strerror", None) or first_line(error)
