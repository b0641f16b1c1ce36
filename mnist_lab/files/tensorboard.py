"""TensorBoard's event files: their names, and reading and writing them without TensorFlow."""

import sys
from types import ModuleType

EVENTS = "events.out.tfevents.*"
RESULT = "z_result"
_BESIDE = {"lr": "train/lr", "time/epoch": "train/time_epoch"}
_ONCE = ("best/", "test/")
_SWITCH = "tensorboard.compat.notf"


def do_without_tensorflow() -> None:
    """Have TensorBoard's writer and reader use its own stand-in for TensorFlow.

    Where TensorFlow is installed they import it, which takes seconds, memory and lines on the
    terminal, only to open files. The module named here is the switch that TensorBoard documents for
    this (in ``tensorboard/compat/__init__.py``; it has no other, and no environment variable), but
    its wheel leaves the module out. TensorFlow stays where it is imported already.
    """
    sys.modules.setdefault(_SWITCH, ModuleType(_SWITCH))


def tag_of(name: str) -> str:
    """Return the tag of a metric or image: TensorBoard orders its cards by their tags.

    Loss and accuracy come first, and what a run has once, at its end, comes last.
    """
    return f"{RESULT}/{name}" if name.startswith(_ONCE) else _BESIDE.get(name, name)
