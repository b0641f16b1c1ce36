"""TensorBoard's event files: their names, and reading and writing them without TensorFlow."""

import io
import os
import socket
import sys
import time
from pathlib import Path
from types import ModuleType

from mnist_lab.errors import printable
from mnist_lab.files.atomic import write_atomic

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


def as_code(text: str) -> str:
    """Return a text as TensorBoard's Markdown shows it letter by letter."""
    return "\n".join(f"    {printable(line)}" for line in text.splitlines())


def add_text(folder: Path, tag: str, text: str) -> None:
    """Add a text to the event files of a run that has ended, as a file of its own.

    TensorBoard reads it also while it is open. Of a tag's texts the newest has the last step.
    Nothing is written where there are no event files.

    Raises:
        OSError: the file cannot be written.
    """
    if not any(folder.glob(EVENTS)):
        return
    do_without_tensorflow()
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.text.summary import text_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    now, step = time.time(), len(list(folder.glob(f"{EVENTS}.{tag}")))
    summary = text_pb(f"{tag}/text_summary", [as_code(text)])
    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in (
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, step=step, summary=summary),
    ):
        writer.write(event.SerializeToString())
    name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}.{step}.{tag}"
    write_atomic(folder / name, content.getvalue(), folder)
