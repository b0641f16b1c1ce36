"""TensorBoard's event files: their names, and reading and writing them without TensorFlow."""

import sys
from types import ModuleType

EVENTS = "events.out.tfevents.*"
_SWITCH = "tensorboard.compat.notf"


def do_without_tensorflow() -> None:
    """Have TensorBoard's writer and reader use its own stand-in for TensorFlow.

    Where TensorFlow is installed they import it, which takes seconds, memory and lines on the
    terminal, only to open files. The module named here is the switch that TensorBoard documents for
    this (in ``tensorboard/compat/__init__.py``; it has no other, and no environment variable), but
    its wheel leaves the module out. TensorFlow stays where it is imported already.
    """
    sys.modules.setdefault(_SWITCH, ModuleType(_SWITCH))
