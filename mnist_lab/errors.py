"""Errors that a user can meet, and the exit code of each."""

import signal


class LabError(ValueError):
    """An error that a user can mend; its message is the one line that is shown."""

    exit_code = 1


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


class Stopped(SystemExit):
    """A signal ended a command; the exit code is 128 plus the signal's number.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.name = signal.Signals(signum).name


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def reason(error: Exception) -> str:
    """Return in one line why a file cannot be read or written, without its path."""
    return getattr(error, "strerror", None) or first_line(error)
