"""TensorBoard's event files: their names, and TensorFlow kept out of what writes and reads them."""

import sys
from types import ModuleType

EVENTS = "events.out.tfevents.*"
_SWITCH = "tensorboard.compat.notf"  # tensorboard/compat/__init__.py asks whether it is there


def do_without_tensorflow() -> None:
    """Have TensorBoard's writer and reader take its own stand-in for TensorFlow.

    Where TensorFlow is installed they would import it: seconds, memory, and lines on the terminal,
    for nothing but its functions for files. What has imported them already is left as it is.
    """
    sys.modules.setdefault(_SWITCH, ModuleType(_SWITCH))
