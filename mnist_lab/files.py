"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write a file that is seen whole or not at all; the caller holds a lock on its folder.

    Raises:
        OSError: it cannot be written; what was there before is left.
    """
    partial = path.with_name(f".{path.name}.partial")  # one name: killed writers leave one file
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
