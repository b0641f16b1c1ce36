"""What is logged only shows, in one style of time."""

import logging
import logging.config
import re

import pytest

from mnist_lab.config.compose import Loader
from mnist_lab.runs.logs import Formatter, log_messages

HOSTILE = "a\x1b[31mb\rc\u202ed"
SHOWN = r"a\x1b[31mb\rc\u202ed"


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "x.py", 1, message, arguments, None)


def test_time_and_message() -> None:
    text = Formatter().format(record("%s\nnext", HOSTILE))
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] (.*)\n(.*)", text)
    assert text.endswith(f"] {SHOWN}\nnext")


def test_hydras_logs_are_of_one_style() -> None:
    hydra = Loader([]).compose([]).hydra
    for node in (hydra.hydra_logging, hydra.job_logging):
        assert node.formatters.simple["class"] == "mnist_lab.runs.logs.Formatter"
        logging.config.DictConfigurator({}).configure_formatter({**node.formatters.simple})
    assert hydra.job_logging.handlers.file.delay  # nothing empty is left in a run's directory


def test_messages_alone(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = []
    try:
        log_messages()
        root.handlers[0].emit(record(HOSTILE))
    finally:
        root.handlers[:] = before
    assert capfd.readouterr().err == f"{SHOWN}\n"
