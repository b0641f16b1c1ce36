"""``mnist-lab`` in a process that notes each batch and can be killed at a named point of a save.

``CRASH_ORDER`` names the file that each training batch is noted in: its step, and a checksum of its
images and labels. ``CRASH_AT=point:n`` has the process kill itself with SIGKILL at a named point of
the n-th save that it makes.
"""

import os
import signal
import sys
import zlib
from collections.abc import Callable
from typing import Any

POINTS = ("write", "sync", "keep", "replace", "replaced", "best")
"""Half written; written but not synced; before and after last becomes previous, before and after
the new file becomes last; before the copy becomes best."""


def note_batches(path: str) -> None:
    """Append a line to the file for each training batch."""
    from mnist_lab.models import Classifier

    step = Classifier.training_step
    file = open(path, "a", buffering=1)  # noqa: SIM115 - open as long as the process lives

    def noted(self: Any, batch: Any, batch_idx: int) -> Any:
        seen = zlib.crc32(batch[0].numpy().tobytes(), zlib.crc32(batch[1].numpy().tobytes()))
        file.write(f"{self.trainer.fit_loop.total_batch_idx} {seen:08x}\n")
        return step(self, batch, batch_idx)

    # The fast loop asks whether a subclass has a step of its own, which this is not.
    Classifier.training_step = noted  # type: ignore[method-assign]


def die_at(point: str, count: int) -> None:
    """Have the process kill itself at a point of its ``count``-th save."""
    left = count

    def die_when(is_here: bool) -> None:
        nonlocal left
        left -= is_here
        if is_here and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if point == "write":
        import torch

        save = torch.save

        def half_written(state: Any, file: Any, *more: Any, **options: Any) -> None:
            if left == 1:
                file.write(b"PK\x03\x04" + bytes(50_000))
                file.flush()
            die_when(is_here=True)
            save(state, file, *more, **options)

        vars(torch)["save"] = half_written
        return

    def watched(call: Callable[..., Any], is_point: Callable[..., bool], after: bool) -> Any:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            here = is_point(*arguments)
            if not after:
                die_when(here)
            result = call(*arguments, **options)
            if after:
                die_when(here)
            return result

        return wrapper

    def ends(name: str, place: int) -> Callable[..., bool]:
        return lambda *paths: str(paths[place]).endswith(name)

    match point:
        case "sync":
            os.fsync = watched(os.fsync, lambda *_: True, after=False)
        case "keep":
            os.replace = watched(os.replace, ends("previous.ckpt", 1), after=False)
        case "replace":
            os.replace = watched(os.replace, ends("previous.ckpt", 1), after=True)
        case "replaced":
            os.replace = watched(os.replace, ends("last.ckpt", 1), after=True)
        case "best":
            os.replace = watched(os.replace, ends("best.ckpt", 1), after=False)


def prepare() -> None:
    """Do what the environment asks for, before the command starts."""
    if "CRASH_ORDER" in os.environ:
        note_batches(os.environ["CRASH_ORDER"])
    if "CRASH_AT" in os.environ:
        point, _, count = os.environ["CRASH_AT"].partition(":")
        die_at(point, int(count))


if __name__ == "__main__":
    prepare()
    from mnist_lab.cli.main import main

    sys.exit(main())
