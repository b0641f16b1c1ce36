"""The exit code of each error, and errors in one line."""

import signal

import pytest

from mnist_lab import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 2),
        (errors.InputError, 3),
        (errors.UntrustedError, 4),
        (errors.StorageError, 5),
        (errors.BusyError, 6),
    ],
)
def test_exit_codes(error: type[errors.LabError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, ValueError)


def test_a_signal_ends_with_128_and_its_number() -> None:
    stopped = errors.Stopped(signal.SIGTERM)
    assert (stopped.code, stopped.name) == (143, "SIGTERM")


def test_an_error_in_one_line() -> None:
    assert errors.first_line(ValueError("\n a line\nand another")) == "a line"
    assert errors.first_line(KeyError()) == "KeyError"
    assert errors.reason(FileNotFoundError(2, "No such file", "a/path")) == "No such file"


def test_only_the_first_of_many_texts_are_listed() -> None:
    assert errors.listed(["a", "b"], 2) == "a; b"
    assert errors.listed(["a", "b", "c", "d"], 2, ", ") == "a, b and 2 more"


def test_the_causes_of_an_error_are_those_that_a_traceback_shows() -> None:
    first, second = OSError("first"), ValueError("second")
    second.__context__ = first
    error = RuntimeError("third")
    error.__cause__, error.__context__ = second, TypeError("while it was raised")
    assert list(errors.causes(error)) == [error, second, first]
    assert list(errors.causes(None)) == []
