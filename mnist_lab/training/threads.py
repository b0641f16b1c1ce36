"""Threads that a run computes with on the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_VARIABLE = "OMP_NUM_THREADS"  # which the ranks that Lightning starts go by


@contextmanager
def threads_of(config: Any) -> Iterator[None]:
    """Compute with a config's number of threads; ``auto`` leaves that of the process.

    That is ``OMP_NUM_THREADS``, or else the cores that the process may use.
    """
    threads, before = config.get("threads", "auto"), torch.get_num_threads()
    if threads == "auto":
        yield
        return
    variable = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(threads)
    torch.set_num_threads(int(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = variable
