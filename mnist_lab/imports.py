"""How heavy modules are imported: all at once, when they are needed."""

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector from looking through what is imported, now and later.

    Torch and Lightning make half a million objects that stay; to search them again and again is a
    tenth of the time that the command takes to start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            atexit.register(gc.unfreeze)  # some of it looks at exit whether it has been freed
            gc.enable()
