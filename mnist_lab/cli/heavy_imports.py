"""Import of heavy modules, all at once and when they are needed, without garbage collection."""

import atexit
import contextlib
import gc
import sys
from collections.abc import Iterator

from mnist_lab.config.allowlist import importing


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector, and the current folder, out of what is imported within.

    Torch and Lightning make half a million objects that stay; to search them again and again is a
    tenth of the time that the command takes to start. Where torch is there already nothing is done:
    a sweep's next trial must not have what the last one left kept for good.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with importing():
            yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # some of it looks at exit whether it has been freed
        gc.enable()
